// Command make makes the test clips and prints the folder they are in.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"lineout/test/media"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := media.Ensure(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(dir)
}
