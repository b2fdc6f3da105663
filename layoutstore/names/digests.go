package names

import (
	"crypto/sha256"
	_ "crypto/sha512" // an algorithm of digests
	"encoding/hex"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// BlobPath returns the path of the blob d below its layout: blobs/ALGORITHM/HEX (OCI
// image specification, image-layout.md). The caller has validated the digest.
func BlobPath(d digest.Digest) string {
	algorithm, encoded, _ := strings.Cut(string(d), ":")
	return BlobDir(algorithm) + "/" + encoded
}

// BlobDir returns the directory of an algorithm's blobs below their layout.
func BlobDir(algorithm string) string { return ocispec.ImageBlobsDir + "/" + algorithm }

// ParseBlobPath splits the path of a blob, LAYOUT/blobs/ALGORITHM/HEX with slashes,
// into the path of its layout, "." if empty, and its digest. The layout of a rooted path is
// rooted. ok is false for any other path.
func ParseBlobPath(name string) (layout string, d digest.Digest, ok bool) {
	dir, encoded := path.Split(name)
	dir, algorithm := path.Split(strings.TrimSuffix(dir, "/"))
	layout, ok = strings.CutSuffix("/"+dir, "/"+ocispec.ImageBlobsDir+"/")
	if !ok {
		return "", "", false
	}
	d = digest.Digest(algorithm + ":" + encoded)
	if !isPlain(algorithm, encoded) && d.Validate() != nil {
		return "", "", false
	}
	switch layout {
	case "":
		return ".", d, true
	case "/": // name is rooted
		return "/", d, true
	}
	return layout[1:], d, true
}

// isPlain reports whether a digest is a valid sha256 digest. Nearly all digests are, and an archive
// may have millions of them: this is cheaper than the regular expression of go-digest.
func isPlain(algorithm, encoded string) bool {
	if algorithm != string(digest.SHA256) || len(encoded) != hex.EncodedLen(sha256.Size) {
		return false
	}
	return strings.Trim(encoded, "0123456789abcdef") == ""
}

// SHA256Sum returns the sum in a valid sha256 digest; ok is false for any other. In large tables,
// sums take less than half the memory of digests.
func SHA256Sum(d digest.Digest) (sum [sha256.Size]byte, ok bool) {
	algorithm, encoded, _ := strings.Cut(string(d), ":")
	if !isPlain(algorithm, encoded) {
		return sum, false
	}
	_, _ = hex.Decode(sum[:], []byte(encoded)) // isPlain has checked the digits
	return sum, true
}

// Limits of the two parts of a tag that consists of a digest, in bytes.
const (
	maxTagAlgorithm = 32
	maxTagEncoded   = 64
)

// ReferrersTag returns the tag that lists the referrers of d in a registry without the
// referrers API: ALGORITHM-HEX, each part truncated (OCI distribution specification 1.1,
// "Referrers Tag Schema"; regclient's types/referrer truncates to the same lengths). So only half of
// the hex digits of a sha512 digest remain. The caller has validated the digest.
func ReferrersTag(d digest.Digest) string {
	algorithm, encoded, _ := strings.Cut(string(d), ":")
	return algorithm[:min(maxTagAlgorithm, len(algorithm))] + "-" + encoded[:min(maxTagEncoded, len(encoded))]
}

// IsDigestTag reports whether a tag consists of a digest, possibly truncated by [ReferrersTag]: the
// tag of a referrers list, or, with a suffix such as .sig, .att or .sbom, a tag that cosign creates.
func IsDigestTag(tag string) bool {
	algorithm, rest, ok := strings.Cut(tag, "-")
	encoded, _, _ := strings.Cut(rest, ".")
	a := digest.Algorithm(algorithm)
	if !ok || !a.Available() {
		return false
	}
	full := hex.EncodedLen(a.Size())
	return (len(encoded) == full || len(encoded) == min(full, maxTagEncoded)) &&
		strings.Trim(encoded, "0123456789abcdef") == ""
}
