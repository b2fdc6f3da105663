package release

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Files in images that declare other images.
const (
	// InstallerDigests and InstallerTags are files of an installer. If both exist, only InstallerTags counts.
	InstallerDigests = "deckhouse/candi/images_digests.json"
	InstallerTags    = "deckhouse/candi/images_tags.json"
	// ModuleDigests and ModuleExtras are files in the image of a module or package.
	ModuleDigests = "images_digests.json"
	ModuleExtras  = "extra_images.json"
)

// Image is an image that a file declares.
type Image struct {
	Name string // names of the JSON fields, joined as MODULE/IMAGE

	Reference string // digest or tag of the image
}

// ParseDigests finds the digests in a JSON document: all strings of the form sha256:<64 hex>. It sorts them
// by name.
func ParseDigests(file []byte) (all []Image, err error) {
	err = eachString(file, func(name, s string) {
		if d := digest.Digest(s); d.Validate() == nil && d.Algorithm() == digest.SHA256 {
			all = append(all, Image{name, s})
		}
	})
	return sortImages(all), err
}

// ParseTags returns all strings in a JSON document as tags. It sorts them by name.
func ParseTags(file []byte) (all []Image, err error) {
	err = eachString(file, func(name, s string) { all = append(all, Image{name, s}) })
	return sortImages(all), err
}

func sortImages(all []Image) []Image {
	slices.SortFunc(all, func(a, b Image) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Reference, b.Reference))
	})
	return all
}

// References returns the digests or tags of images, sorted and without duplicates.
func References(images []Image) (all []string) {
	for _, i := range images {
		all = append(all, i.Reference)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// eachString calls do for each string value in a JSON document. name consists of the names of the
// fields that contain the value, joined by slashes.
func eachString(data []byte, do func(name, s string)) error {
	var doc any
	if err := json.Unmarshal(data, &doc); err != nil {
		return err
	}
	type value struct {
		name string
		v    any
	}
	for todo := []value{{"", doc}}; len(todo) > 0; {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		switch v := at.v.(type) {
		case string:
			do(at.name, v)
		case []any:
			for _, element := range v {
				todo = append(todo, value{at.name, element})
			}
		case map[string]any:
			for field, element := range v {
				todo = append(todo, value{joinName(at.name, field), element})
			}
		}
	}
	return nil
}

// maxName is the maximum length of joined field names, in bytes. It is needed because fields may be nested to
// any depth.
const maxName = 256

func joinName(name, field string) string {
	if name != "" {
		field = name + "/" + field
	}
	return field[:min(len(field), maxName)]
}

// ParseExtraImages parses the list of extra images in a module's image, and sorts it by name. A tag may be a
// string or a number. A number keeps its digits as they are written.
func ParseExtraImages(file []byte) (all []Image, err error) {
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(file, &doc); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(doc)) {
		var tag string
		if json.Unmarshal(doc[name], &tag) != nil {
			var number json.Number
			if err := json.Unmarshal(doc[name], &number); err != nil {
				return nil, err
			}
			tag = number.String()
		}
		if path.Clean(name) != name || !IsName(strings.ReplaceAll(name, "/", ".")) || tag == "" {
			return nil, fmt.Errorf("%q: %q: malformed image name or tag", name, tag)
		}
		all = append(all, Image{name, tag})
	}
	return all, nil
}
