package acceptance

import (
	"testing"
)

// mixForms copies a bundle's archives, cuts a third of them into chunks, and unpacks another third.
func mixForms(t *testing.T, b bundleOf) {
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

// checkOracle uploads d8's bundle from dir, serves the bucket, and compares all responses with the oracle.
func (o objectStore) checkOracle(t *testing.T, dir, prefix string) {
	t.Helper()
	o.upload(t, dir, prefix)
	s := serve(t, o.place(prefix), o.flags("--root-repository", sampleRoot)...)
	readD8Bundle(t, dir).check(t, s)
}

// A bundle of archives, chunks and layouts in a bucket gives the responses that the oracle expects.
func TestBundleInABucketMatchesOracle(t *testing.T) {
	o, _ := fakeStore(t)
	dir := t.TempDir()
	mixForms(t, bundleOf{field, dir})
	o.checkOracle(t, dir, "bundle")
}
