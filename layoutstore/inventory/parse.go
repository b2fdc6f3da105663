package inventory

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// ErrFormat is the error for an inventory that is malformed, or has an unknown format version.
var ErrFormat = errors.New("not an inventory that this program can read")

// Parse parses an inventory. It accepts only what [Inventory.Encode] writes, except that white
// space may differ. For example, it refuses unknown or repeated fields, other format versions, and
// lists that are not sorted or have duplicates. It also refuses an id that does not match the
// content, tags without their blob, and file names that lead out of the directory. Every error
// wraps ErrFormat.
func Parse(data []byte) (*Inventory, error) {
	i, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return i, nil
}

// ReadFile reads an inventory from a file. The error is ErrFormat or the file system's.
func ReadFile(name string) (*Inventory, error) {
	data, err := plainfile.Read(name, MaxSize)
	if err != nil {
		return nil, err
	}
	i, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return i, nil
}

func parse(data []byte) (*Inventory, error) {
	if len(data) > MaxSize {
		return nil, errTooLong
	}
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	if err := checkVersion(data); err != nil {
		return nil, err
	}
	if err := checkFields(data); err != nil {
		return nil, err
	}
	var i Inventory
	if err := json.Unmarshal(data, &i); err != nil {
		return nil, err
	}
	if err := i.check(); err != nil {
		return nil, err
	}
	return &i, nil
}

// IsInventory reports whether data that Parse refused is a malformed inventory with a known format
// version. If not, data may be a bundle.json that a different program wrote.
func IsInventory(data []byte) bool {
	if !bytes.Contains(data, []byte(`"formatVersion"`)) {
		return false
	}
	return !errors.Is(checkVersion(data), errVersion)
}

var errVersion = errors.New("format version")

// checkVersion checks the format version. It runs first: later versions may have other fields.
func checkVersion(data []byte) error {
	var v struct {
		FormatVersion *int `json:"formatVersion"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	if v.FormatVersion == nil {
		return errors.New("it has no formatVersion")
	}
	if *v.FormatVersion != formatVersion {
		return fmt.Errorf("%w %d, but this program reads only version %d", errVersion, *v.FormatVersion, formatVersion)
	}
	return nil
}

// shape lists the fields of a JSON object by name. If a field is a list of objects, its value is
// their shape; otherwise it is nil. A field whose name ends in "?" may be missing.
type shape map[string]shape

func topShape() shape {
	blob := shape{"digest": nil, "size": nil}
	tag := shape{"tag": nil, "digest": nil, "size": nil}
	return shape{
		"formatVersion": nil, "bundle": nil, "bases": nil, "program": nil, "key?": nil,
		"files":        {"name": nil, "size": nil, "sha256?": nil},
		"repositories": {"path": nil, "tags": tag, "untagged?": blob},
		"blobs":        blob,
	}
}

// checkFields checks that each object has exactly the fields of its shape, without duplicates and
// nulls. Package json would ignore the case of names, and accept duplicates.
func checkFields(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := checkValue(d, topShape()); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the file contains more than one JSON value")
	}
	return nil
}

func checkValue(d *json.Decoder, s shape) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	switch t {
	case nil:
		return errors.New("null")
	case json.Delim('{'):
		return checkObject(d, s)
	case json.Delim('['):
		for d.More() {
			if err := checkValue(d, s); err != nil {
				return err
			}
		}
		_, err = d.Token()
	}
	return err
}

func checkObject(d *json.Decoder, s shape) error {
	seen := make(map[string]bool, len(s))
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		inner, ok := s[name]
		if !ok {
			inner, ok = s[name+"?"]
		}
		switch {
		case !ok || strings.HasSuffix(name, "?"):
			return fmt.Errorf("unknown field %.100q", name)
		case seen[name]:
			return fmt.Errorf("field %q appears twice", name)
		}
		seen[name] = true
		if err := checkValue(d, inner); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for name := range s {
		if !strings.HasSuffix(name, "?") && !seen[name] {
			return fmt.Errorf("field %q is missing", name)
		}
	}
	_, err := d.Token()
	return err
}

// check checks the values of all fields of an inventory.
func (i *Inventory) check() error {
	if i.FormatVersion != formatVersion {
		return fmt.Errorf("format version %d, but this program reads only version %d", i.FormatVersion, formatVersion)
	}
	if err := checkText("program", i.Program); err != nil {
		return err
	}
	for _, d := range slices.Concat([]digest.Digest{i.Bundle}, i.Bases) {
		if err := checkSHA256(d); err != nil {
			return err
		}
	}
	if i.Key != "" {
		if err := checkSHA256(i.Key); err != nil {
			return fmt.Errorf("key: %w", err)
		}
	}
	return cmp.Or(inOrder("bases", i.Bases, func(d digest.Digest) string { return d.String() }),
		checkAll("files", i.Files, func(f File) string { return f.Name }, File.check),
		checkAll("blobs", i.Blobs, func(b Blob) string { return b.Digest.String() }, Blob.check),
		checkAll("repositories", i.Repositories, func(r Repository) string { return r.Path }, i.checkRepository),
		i.checkID())
}

func (i *Inventory) checkID() error {
	if id := i.ID(); id != i.Bundle {
		return fmt.Errorf("the id is %s, but the content has the id %s", i.Bundle, id)
	}
	return nil
}

// checkAll checks each element of a list, and that the list is sorted and has no duplicates.
func checkAll[T any](what string, all []T, key func(T) string, check func(T) error) error {
	for _, v := range all {
		if err := check(v); err != nil {
			return fmt.Errorf("%s: %.300q: %w", what, key(v), err)
		}
	}
	return inOrder(what, all, key)
}

func inOrder[T any](what string, all []T, key func(T) string) error {
	for n := 1; n < len(all); n++ {
		if a, b := key(all[n-1]), key(all[n]); a >= b {
			return fmt.Errorf("%s: %.300q follows %.300q: the list is not sorted, or has duplicates", what, b, a)
		}
	}
	return nil
}

func (i *Inventory) checkRepository(r Repository) error {
	if r.Path != "." && !names.IsRepository(r.Path) {
		return errors.New("not a legal repository name")
	}
	err := checkAll("tags", r.Tags, func(t Tag) string { return t.Name }, func(t Tag) error {
		if !names.IsTag(t.Name) {
			return errors.New("not a legal tag")
		}
		return i.checkListed(Blob{t.Digest, t.Size})
	})
	return cmp.Or(err, checkAll("untagged", r.Untagged, func(b Blob) string { return b.Digest.String() }, i.checkListed))
}

// checkListed checks that a manifest is listed among the blobs.
func (i *Inventory) checkListed(m Blob) error {
	if size, ok := i.Blob(m.Digest); !ok || size != m.Size {
		return fmt.Errorf("the manifest %.100s with %d bytes is not among the blobs", m.Digest, m.Size)
	}
	return nil
}

func (b Blob) check() error {
	if b.Size < 0 {
		return fmt.Errorf("size %d", b.Size)
	}
	return b.Digest.Validate()
}

func (f File) check() error {
	if f.Size < 0 {
		return fmt.Errorf("size %d", f.Size)
	}
	if f.SHA256 != "" {
		if sum, err := hex.DecodeString(f.SHA256); err != nil || len(sum) != 32 || hex.EncodeToString(sum) != f.SHA256 {
			return fmt.Errorf("sha256 %.100q is not 64 lower-case hex digits", f.SHA256)
		}
	}
	return checkFileName(f.Name)
}

// maxFileName is the maximum length of a file name in bytes.
const maxFileName = 4096

// checkFileName accepts only relative names below the directory of a bundle. No segment may begin
// with a dot, because sources skip such files.
func checkFileName(name string) error {
	hidden := slices.ContainsFunc(strings.Split(name, "/"), func(s string) bool { return strings.HasPrefix(s, ".") })
	if name == "" || len(name) > maxFileName || hidden || path.Clean(name) != name || !filepath.IsLocal(filepath.FromSlash(name)) ||
		strings.ContainsRune(name, '\\') || name == Name || name == SignatureName {
		return errors.New("a bundle cannot contain a file with this name")
	}
	return checkText("name", name)
}

func checkText(what, s string) error {
	if len(s) > maxFileName || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("%s: %.300q is too long or has control characters", what, s)
	}
	return nil
}

func checkSHA256(d digest.Digest) error {
	if _, ok := names.SHA256Sum(d); !ok {
		return fmt.Errorf("%.100q is not a sha256 digest", d)
	}
	return nil
}
