// Command measure prints what a viewer of a recording or stream of the test clips gets.
//
//	go run ./test/media/measure [-live 10s] FILE-OR-URL
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"lineout/test/media"
)

func main() {
	live := flag.Duration("live", 0, "copy so much of a live URL and measure the copy")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	r, err := media.Measure(ctx, flag.Arg(0), media.Options{Live: *live})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(r)
}
