package doctor

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

type image struct {
	host       string // the registry in the image name; may be empty
	repository string
	tag        string // may be empty if there is a digest
	digest     digest.Digest
}

// dockerHub is the host in the names of Docker Hub's images.
const dockerHub = "docker.io"

// isOfficial reports whether an image may be an official image of Docker Hub. The name of such an
// image has one segment, and clients request it below library/.
func (i image) isOfficial() bool {
	return (i.host == "" || i.host == dockerHub) && !strings.Contains(i.repository, "/")
}

// parseImage parses [HOST/]REPOSITORY[:TAG][@DIGEST]. The first segment is a host only if it
// contains a dot or a colon, or is localhost. If there is neither a tag nor a digest, the tag is
// latest.
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
	if i.host, rest = names.CutHost(rest); i.host == "index.docker.io" {
		i.host = dockerHub // an older name, which containerd's CRI plugin replaces
	}
	if colon := strings.LastIndexByte(rest, ':'); colon >= 0 {
		rest, i.tag = rest[:colon], rest[colon+1:]
		if err := names.CheckTag(i.tag); err != nil {
			return image{}, fmt.Errorf("image %q: %w REPOSITORY:TAG: tag %q: %w", s, ErrForm, i.tag, err)
		}
	}
	i.repository = rest
	if err := names.CheckRepository(rest); err != nil {
		return image{}, fmt.Errorf("image %q: %w REPOSITORY:TAG or HOST/REPOSITORY:TAG: repository %q: %w", s, ErrForm, rest, err)
	}
	if i.tag == "" && i.digest == "" {
		i.tag = "latest"
	}
	return i, nil
}
