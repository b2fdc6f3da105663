package acceptance

import (
	"testing"
)

// mixed converts every third archive each way: as it was written, cut, and unpacked.
func mixed(t *testing.T, b bundleOf) {
	t.Helper()
	for n, archive := range b.copy(t) {
		switch n % 3 {
		case 1:
			cut(t, archive, n, 100_000)
		case 2:
			run(t, packaged(t, "tar"), "-xf", archive, "-C", b.to, "--no-same-owner", "--mode=u+rwX")
			run(t, packaged(t, "rm"), archive)
		}
	}
}

// checkOracle serves a bundle out of a bucket, and compares all answers with what an
// independent reader of its files expects.
func (o objectStore) checkOracle(t *testing.T, dir, prefix string) {
	t.Helper()
	o.upload(t, dir, prefix)
	expected := readBundle(t, dir, sampleRoot)
	if tags, manifests, blobs := expected.size(); len(expected) != 27 || tags != 110 || manifests != 104 || blobs != 300 {
		t.Errorf("the oracle knows %s", expected)
	}
	s := serve(t, o.place(prefix), o.flags("--root-repository", sampleRoot)...)
	for _, d := range expected.examine(t, "http://"+s.registry) {
		t.Error(d)
	}
}

// All answers out of a bucket are what an independent reader of its files expects, for
// archives, chunks and layouts.
func TestOracleOfABucket(t *testing.T) {
	o, _ := fakeStore(t)
	dir := t.TempDir()
	mixed(t, bundleOf{field, dir})
	o.checkOracle(t, dir, "bundle")
}
