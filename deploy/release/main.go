// Release makes a release of what goreleaser has built: it assembles the container image and the
// chart, copies the files that are published to one directory, says what they were built of, and
// signs their checksums. It uses neither a network nor a daemon.
//
// deploy/release/build runs goreleaser and then this. docs/release.md explains the files.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	o := options{top: "."}
	flag.StringVar(&o.dist, "dist", "dist", "the `directory` that goreleaser wrote")
	flag.StringVar(&o.out, "out", "", "the `directory` to write the release to; it must not exist")
	flag.StringVar(&o.sbom, "sbom", "", "the SBOM of the program, a `file`")
	flag.StringVar(&o.goreleaser, "goreleaser", "", "the `version` of goreleaser, for the provenance")
	flag.BoolVar(&o.snapshot, "snapshot", false, "this is no version: it needs neither a section of the changelog nor a key")
	flag.BoolVar(&o.unsigned, "unsigned", false, "write no signatures, whether there is a key or not")
	flag.Parse()
	o.key, o.builder = os.Getenv("LAYOUTPROXY_RELEASE_KEY"), os.Getenv("LAYOUTPROXY_RELEASE_BUILDER")
	if o.out == "" || o.sbom == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "release: give -out and -sbom, and no arguments")
		os.Exit(2)
	}
	if err := assemble(o); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}
