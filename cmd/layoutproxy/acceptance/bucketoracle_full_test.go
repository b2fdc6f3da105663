//go:build full

package acceptance

import (
	"net/http/httptest"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// This test repeats TestBundleInABucketMatchesOracle with versitygw, and with every form of bundle.
func TestBundleInVersitygwMatchesOracle(t *testing.T) {
	v := startVersity(t)
	n := 0
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			form(t, bundleOf{field, dir})
			n++
			v.checkOracle(t, dir, string(rune('a'+n)))
		})
	}
}

// The suite writes through a front, which stores files in the bucket's directory. layoutproxy reads
// these files as objects. They have no ETag, because no S3 client wrote them.
func TestConformanceWithVersitygw(t *testing.T) {
	v := startVersity(t)
	tree := layouttest.New(t, v.dir)
	for _, name := range []string{"conformance/repo1", "conformance/repo2"} {
		tree.Layout(name).Write()
	}
	s := serve(t, v.place(""), v.flags("--root-repository", "")...)
	front := httptest.NewServer(newFront(t, v.dir, s))
	defer front.Close()
	got := conformance(t, front.Listener.Addr().String(), "OCI_VERSION=1.1+dev", "OCI_DATA_SPARSE=true")
	t.Log(got.counts)
	got.checkComplete(t)
}
