package daemon

import (
	"context"
	"encoding/json"
	"sync/atomic"

	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// maxIndexesForUpstream is how many indexes are read to learn where a bundle comes from.
const maxIndexesForUpstream = 16

// upstream is the registry that the references in the current snapshot name.
type upstream struct{ last atomic.Pointer[foundUpstream] }

type foundUpstream struct {
	generation uint64
	host       string
}

// of returns the registry that the references in a snapshot name, or nothing. The first call for a
// generation reads indexes, as long as ctx lasts.
func (u *upstream) of(ctx context.Context, s *layoutstore.Snapshot) string {
	if last := u.last.Load(); last != nil && last.generation == s.Generation() {
		return last.host
	}
	host := findUpstream(ctx, s)
	if ctx.Err() == nil {
		u.last.Store(&foundUpstream{s.Generation(), host})
	}
	return host
}

// findUpstream returns the registry that most references in the first indexes name, or nothing. Nodes
// ask that registry for the images, so their configuration has to name it.
func findUpstream(ctx context.Context, s *layoutstore.Snapshot) string {
	votes := map[string]int{}
	read := 0
	for _, path := range s.Paths() {
		repo, err := s.At(path)
		if err != nil {
			continue
		}
		for _, l := range repo.Layouts() {
			if read++; read > maxIndexesForUpstream || ctx.Err() != nil {
				return most(votes)
			}
			entries, err := l.Index(ctx)
			if err != nil {
				continue
			}
			for _, e := range entries {
				var d specs.Descriptor
				if json.Unmarshal(e.Raw, &d) == nil {
					if host := names.ParseReference(d.Annotations[specs.AnnotationRefName]).Host; host != "" {
						votes[host]++
					}
				}
			}
		}
	}
	return most(votes)
}

// most returns the key with the most votes; of several the first in byte order.
func most(votes map[string]int) (winner string) {
	for host, n := range votes {
		if n > votes[winner] || n == votes[winner] && host < winner {
			winner = host
		}
	}
	return winner
}
