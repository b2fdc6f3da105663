package names

import (
	"crypto/sha256"
	_ "crypto/sha512" // registers sha512 for digests
	"encoding/hex"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// BlobPath returns the path of the blob d relative to its layout: blobs/ALGORITHM/HEX (OCI image
// specification, image-layout.md). The digest must be valid.
func BlobPath(d digest.Digest) string {
	algorithm, encoded, _ := strings.Cut(string(d), ":")
	return BlobDir(algorithm) + "/" + encoded
}

// BlobDir returns the directory for blobs of an algorithm, relative to their layout.
func BlobDir(algorithm string) string { return ocispec.ImageBlobsDir + "/" + algorithm }

// ParseBlobPath splits the path of a blob, LAYOUT/blobs/ALGORITHM/HEX. It returns the path of the
// layout and the digest of the blob. If LAYOUT is missing, the path is ".". If name begins with a
// slash, so does the path. ok is false for any other name.
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
	case "/": // name begins with a slash
		return "/", d, true
	}
	return layout[1:], d, true
}

// isPlain reports whether a digest is a valid sha256 digest, as nearly all digests are. An archive
// may contain millions of digests, and isPlain is faster than the regular expression of go-digest.
func isPlain(algorithm, encoded string) bool {
	if algorithm != string(digest.SHA256) || len(encoded) != hex.EncodedLen(sha256.Size) {
		return false
	}
	return strings.Trim(encoded, "0123456789abcdef") == ""
}

// SHA256Sum returns the bytes of the sum in a valid sha256 digest. ok is false for any other
// digest. In a large table, sums take less than half of the memory that digests would take.
func SHA256Sum(d digest.Digest) (sum [sha256.Size]byte, ok bool) {
	algorithm, encoded, _ := strings.Cut(string(d), ":")
	if !isPlain(algorithm, encoded) {
		return sum, false
	}
	_, _ = hex.Decode(sum[:], []byte(encoded)) // this cannot fail, because isPlain has checked the digits
	return sum, true
}

// These are the maximum lengths in bytes of the two parts of a tag that is made from a digest.
const (
	maxTagAlgorithm = 32
	maxTagEncoded   = 64
)

// ReferrersTag returns the tag ALGORITHM-HEX. In a registry without the referrers API, it lists the
// referrers of d. Each part is truncated, so only half of the hex digits of a sha512 digest remain
// (OCI distribution specification 1.1, "Referrers Tag Schema"). regclient's types/referrer
// truncates the parts to the same lengths. The digest must be valid.
func ReferrersTag(d digest.Digest) string {
	algorithm, encoded, _ := strings.Cut(string(d), ":")
	return algorithm[:min(maxTagAlgorithm, len(algorithm))] + "-" + encoded[:min(maxTagEncoded, len(encoded))]
}

// IsDigestTag reports whether a tag is made from a digest. Such a tag refers to a list of referrers
// (see [ReferrersTag]), or it comes from cosign and has a suffix such as .sig, .att or .sbom.
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
