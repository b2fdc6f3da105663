package doctor

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// image is what is asked for.
type image struct {
	host       string // by which nodes name it; may be empty
	repository string
	tag        string // may be empty where there is a digest
	digest     digest.Digest
}

// parseImage reads [HOST/]REPOSITORY[:TAG][@DIGEST]. The first segment is a host only
// if it holds a dot or a colon, or is localhost; without tag and digest it is latest.
func parseImage(s string) (image, error) {
	var i image
	rest, dgst, found := strings.Cut(s, "@")
	if found {
		d, err := digest.Parse(dgst)
		if err != nil {
			return image{}, fmt.Errorf("image %q: %w REPOSITORY@DIGEST: digest %q: %w", s, ErrForm, dgst, err)
		}
		i.digest = d
	}
	if first, below, ok := strings.Cut(rest, "/"); ok && (first == "localhost" || strings.ContainsAny(first, ".:")) {
		i.host, rest = first, below
	}
	if colon := strings.LastIndexByte(rest, ':'); colon >= 0 {
		rest, i.tag = rest[:colon], rest[colon+1:]
		if !reference.TagRegexp.MatchString(i.tag) || reference.TagRegexp.FindString(i.tag) != i.tag {
			return image{}, fmt.Errorf("image %q: %w REPOSITORY:TAG: %q is no tag", s, ErrForm, i.tag)
		}
	}
	i.repository = rest
	named, err := reference.WithName("x.y/" + rest) // a host, so that no part of the path is taken for one
	if err != nil || reference.Path(named) != rest {
		return image{}, fmt.Errorf("image %q: %w REPOSITORY:TAG or HOST/REPOSITORY:TAG", s, ErrForm)
	}
	if i.tag == "" && i.digest == "" {
		i.tag = "latest"
	}
	return i, nil
}
