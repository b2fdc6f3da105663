//go:build man

package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/manual"
)

// main writes the manual pages of the commands into a directory, dated by SOURCE_DATE_EPOCH if that
// is set:
//
//	go run -tags man ./cmd/layoutproxy DIR
func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run -tags man ./cmd/layoutproxy DIR")
		os.Exit(2)
	}
	if err := writeManual(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func writeManual(dir string) error {
	for _, name := range []string{"XDG_CACHE_HOME", "XDG_STATE_HOME"} { // Defaults of flags must not depend on this machine.
		if err := os.Unsetenv(name); err != nil {
			return err
		}
	}
	root, _ := newRoot()
	o := manual.Options{Version: version, Date: time.Now()}
	o.Home, _ = os.UserHomeDir() // If this user has no home directory, no default contains it.
	if text := os.Getenv("SOURCE_DATE_EPOCH"); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
		}
		o.Date = time.Unix(seconds, 0)
	}
	return manual.Write(root, dir, o)
}
