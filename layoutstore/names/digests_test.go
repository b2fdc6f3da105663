package names_test

import (
	"path"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

const (
	hex64  = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	hex128 = hex64 + hex64
)

func TestBlobPathAndParseBlobPath(t *testing.T) {
	for d, want := range map[digest.Digest]string{
		"sha256:" + hex64:  "blobs/sha256/" + hex64,
		"sha512:" + hex128: "blobs/sha512/" + hex128,
	} {
		if got := names.BlobPath(d); got != want {
			t.Errorf("BlobPath(%s) = %q, want %q", d, got, want)
		}
		for _, layout := range []string{".", "modules/a", "blobs", "a/blobs/sha256", "/", "/srv/a", "/blobs"} {
			got, blob, ok := names.ParseBlobPath(path.Join(layout, want))
			if got != layout || blob != d || !ok {
				t.Errorf("ParseBlobPath of %s in the layout %s: got %s, %s, %v; want %s, %s, true", want, layout, got, blob, ok, layout, d)
			}
		}
	}
	for _, name := range []string{
		"", "index.json", "blobs", "blobs/sha256", "blobs/" + hex64, "sha256/" + hex64, "xblobs/sha256/" + hex64,
		"blobs/sha256/" + hex64[1:], "blobs/sha256/" + hex64 + "0", "blobs/sha256/" + strings.ToUpper(hex64),
		"blobs/sha256/x/" + hex64, "blobs/md5/" + hex64[:32], "blobs/sha512/" + hex64, "blobs/sha256/" + hex64 + ".tmp",
	} {
		if layout, d, ok := names.ParseBlobPath(name); ok || layout != "" || d != "" {
			t.Errorf("ParseBlobPath(%q) = %q, %q, %v; want no blob", name, layout, d, ok)
		}
	}
}

// If ParseBlobPath accepts a path, the digest must be valid and must lead to the same path.
func FuzzParseBlobPath(f *testing.F) {
	for _, s := range []string{"blobs/sha256/" + hex64, "a/b/blobs/sha512/" + hex128, "blobs/sha256", "/blobs/sha256/" + hex64, "/b/blobs/sha256/" + hex64, "blobs/sha256:/" + hex64} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		layout, d, ok := names.ParseBlobPath(name)
		if !ok {
			return
		}
		if err := d.Validate(); err != nil {
			t.Fatalf("ParseBlobPath(%q) returns the digest %q, want a valid one: %v", name, d, err)
		}
		if got := path.Join(layout, names.BlobPath(d)); got != name && path.Clean(name) == name {
			t.Fatalf("ParseBlobPath(%q) returns the blob %s in the layout %q, but that blob has the path %q", name, d, layout, got)
		}
		sum, plain := names.SHA256Sum(d)
		if plain != (d.Algorithm() == digest.SHA256) {
			t.Fatalf("SHA256Sum(%s): got ok = %v, want %v", d, plain, !plain)
		}
		if plain && digest.NewDigestFromBytes(digest.SHA256, sum[:]) != d {
			t.Fatalf("SHA256Sum(%s) = %x, want the hexadecimal digits of the digest", d, sum)
		}
		if tag := names.ReferrersTag(d); !names.IsTag(tag) || !names.IsDigestTag(tag) {
			t.Fatalf("ReferrersTag(%s) = %q, want a valid tag for a digest", d, tag)
		}
	})
}

func TestSHA256SumOfDigests(t *testing.T) {
	for _, s := range []string{"", "sha256", "sha256:", "sha256:" + hex64[1:], "sha256:" + hex64[1:] + "g", "sha512:" + hex128} {
		if sum, ok := names.SHA256Sum(digest.Digest(s)); ok || sum != [32]byte{} {
			t.Errorf("SHA256Sum(%q): got ok = true or the sum %x, want false and zeros", s, sum)
		}
	}
}

// With all of its digits, the tag for a sha512 digest would have 135 bytes, more than registries
// accept. So the specification truncates it, and so does regclient (FallbackTag and its tests).
func TestReferrersTagIsTruncated(t *testing.T) {
	for d, want := range map[digest.Digest]string{
		"sha256:" + hex64:  "sha256-" + hex64,
		"sha512:" + hex128: "sha512-" + hex64,
	} {
		if got := names.ReferrersTag(d); got != want || !names.IsTag(got) {
			t.Errorf("ReferrersTag(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestIsDigestTag(t *testing.T) {
	for tag, want := range map[string]bool{
		"sha256-" + hex64:             true,
		"sha256-" + hex64 + ".sig":    true,
		"sha256-" + hex64 + ".att":    true,
		"sha512-" + hex64:             true, // truncated
		"sha512-" + hex128 + ".att":   true,
		"sha256-" + hex64[1:]:         false,
		"sha256-" + hex64[1:] + "g":   false,
		"sha256-" + hex128:            false,
		"sha256":                      false,
		"sha256-":                     false,
		"md5-" + hex64[:32]:           false,
		"v1.2.3":                      false,
		"sha256-" + hex64[:32] + ".x": false,
	} {
		if got := names.IsDigestTag(tag); got != want {
			t.Errorf("IsDigestTag(%q) = %v, want the opposite", tag, got)
		}
	}
}
