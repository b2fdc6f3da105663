// Release completes a release that goreleaser has built. It copies the files to publish into one
// directory, and adds the container image, the chart, the provenance and the checksums. With a key and
// without -unsigned, it signs the provenance and the checksums. It uses neither the network nor a daemon.
//
// deploy/release/build runs goreleaser and then this program. docs/release.md explains the files.
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
	flag.StringVar(&o.sbom, "sbom", "", "the `file` that contains the SBOM of the program")
	flag.StringVar(&o.goreleaser, "goreleaser", "", "the `version` of goreleaser, which the provenance names")
	flag.BoolVar(&o.snapshot, "snapshot", false, "build a snapshot, which needs no section in CHANGELOG.md and no key")
	flag.BoolVar(&o.unsigned, "unsigned", false, "write no signatures, even if there is a key")
	flag.Parse()
	o.key, o.builder = os.Getenv("LAYOUTPROXY_RELEASE_KEY"), os.Getenv("LAYOUTPROXY_RELEASE_BUILDER")
	if o.out == "" || o.sbom == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "release: set -out and -sbom, and give no arguments")
		os.Exit(2)
	}
	if err := assemble(o); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}
