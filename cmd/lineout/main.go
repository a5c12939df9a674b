// Command lineout records and restreams SIP calls.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"text/tabwriter"

	"lineout/configs"
	"lineout/server"
)

// version is set by the linker.
var version = "dev"

const usage = `lineout records and restreams SIP calls.

  lineout [serve] [options]   start the server (default)
  lineout config  [options]   print the effective settings and where each came from
  lineout verify  FILE...     prove recordings; see lineout verify --help
  lineout codecs  [--json]    print what can be done with each codec on this machine, and what is missing
  lineout version             print the version

Options:
  --config FILE      settings from a .yaml or .properties file
  --set NAME=VALUE   one setting; may be repeated, and wins over all else

Every setting can also be given in the environment: http.port as LINEOUT_HTTP_PORT.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// repeated is a flag that may be given many times.
type repeated []string

func (r *repeated) String() string     { return strings.Join(*r, ",") }
func (r *repeated) Set(v string) error { *r = append(*r, v); return nil }

// run is the program; it returns the exit code.
func run(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	command := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	if command == "verify" {
		return verify(ctx, args, stdout, stderr)
	}
	fs := flag.NewFlagSet("lineout", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() { fmt.Fprint(stderr, usage) }
	file := fs.String("config", "", "")
	var sets repeated
	fs.Var(&sets, "set", "")
	asJSON := fs.Bool("json", false, "")
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case fs.NArg() > 0:
		fmt.Fprintf(stderr, "lineout: unexpected argument %q; see lineout --help\n", fs.Arg(0))
		return 2
	}
	if *asJSON && command != "codecs" {
		fmt.Fprintln(stderr, "lineout: --json is an option of lineout codecs")
		return 2
	}
	switch command {
	case "version":
		fmt.Fprintf(stdout, "lineout %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return 0
	case "serve", "config", "codecs":
	case "help":
		fmt.Fprint(stdout, usage)
		return 0
	default:
		fmt.Fprintf(stderr, "lineout: unknown command %q; see lineout --help\n", command)
		return 2
	}
	settings := server.NewSettings(version)
	set, err := configs.New(settings.Sections()...)
	if err != nil {
		fmt.Fprintln(stderr, "lineout:", err)
		return 1
	}
	warnings, err := set.Load(configs.Sources{File: *file, Env: env, Flags: sets})
	if err != nil {
		for _, line := range append(warnings, strings.Split(err.Error(), "\n")...) {
			fmt.Fprintln(stderr, "lineout:", line)
		}
		return 1
	}
	if command == "config" {
		for _, w := range warnings {
			fmt.Fprintln(stderr, "lineout:", w)
		}
		return printSettings(set, stdout)
	}
	if command == "codecs" {
		return printCodecs(server.Codecs(settings), *asJSON, stdout)
	}
	return serve(ctx, settings, warnings, stderr)
}

func printSettings(set *configs.Set, w io.Writer) int {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, v := range set.Effective() {
		fmt.Fprintf(tw, "%s\t= %s\t(%s)\n", v.Name, v.Value, v.Origin)
	}
	if err := tw.Flush(); err != nil {
		return 1
	}
	return 0
}

func serve(ctx context.Context, settings *server.Settings, warnings []string, stderr io.Writer) int {
	log := settings.Server.Logger(stderr)
	for _, w := range warnings {
		log.Warn("settings: " + w)
	}
	srv, err := server.New(settings, log)
	if err != nil {
		fmt.Fprintln(stderr, "lineout:", err)
		return 1
	}
	fmt.Fprint(stderr, srv.Banner())
	if err := srv.Run(ctx); err != nil {
		log.Error("server ended", "err", err)
		return 1
	}
	log.Info("server stopped", slog.String("version", version))
	return 0
}
