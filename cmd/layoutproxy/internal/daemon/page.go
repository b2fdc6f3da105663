package daemon

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"time"

	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/drop"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/registry/page"
)

func (s *Daemon) newPage() (*page.Page, error) {
	return page.New(page.Options{
		Source: s.live.tree, Status: s.pageStatus, Version: s.version,
		Registry: page.Registry{Address: s.servers[0].Listener.Addr().String(), TLS: s.flags.TLS.On(), Login: s.flags.Auth.On()},
	})
}

// pageWait is how long the web page waits for storage that hangs. Then it shows the problems that
// were known before.
const pageWait = 250 * time.Millisecond

// pageStatus returns the status for the web page, without waiting for the check of a generation.
func (s *Daemon) pageStatus(ctx context.Context) page.Status {
	snapshot := s.live.tree.Snapshot()
	ctx, cancel := context.WithTimeout(ctx, pageWait)
	defer cancel()
	problems := s.live.problems(ctx)
	status := page.Status{
		Generation: snapshot.Generation(), Since: snapshot.Since(), Repositories: snapshot.RepositoryCount(), Tags: snapshot.TagCount(),
		Roots: snapshot.Roots(), Sources: snapshot.Sources(), Upstream: s.upstream.of(ctx, snapshot), DropDir: s.flags.Store.DropDir,
		Problems: problems, Checked: s.live.checkedUpTo.Load() == snapshot.Generation(), Refused: s.refusals.count.Load(),
		Imports: pageJobs(s.imports()), Pushes: pageJobs(s.follower.pushes()), Scrub: statusOfScrub(s.scrub), Disks: s.disks.status(ctx),
	}
	if verdicts := s.verdicts.of(snapshot, len(problems)); verdicts != nil {
		status.Versions = []page.Version{}
		for _, v := range verdicts {
			one := page.Version{Name: v.Version, Ready: v.Ready}
			for _, reason := range v.Reasons {
				one.Reasons = append(one.Reasons, reason.String())
			}
			status.Versions = append(status.Versions, one)
		}
	}
	return status
}

func pageJobs(all []drop.Status) (jobs []page.Job) {
	for _, j := range all {
		jobs = append(jobs, page.Job(j))
	}
	return jobs
}

// maxIndexesForUpstream limits how many index.json files are read to find the registry that the
// images come from.
const maxIndexesForUpstream = 16

// upstream finds the registry that the images come from, and remembers it per generation.
type upstream struct{ last atomic.Pointer[foundUpstream] }

type foundUpstream struct {
	generation uint64
	host       string
}

// of returns the registry that the images in a snapshot come from, or "" if it is unknown. The
// first call for a generation reads index.json files, until ctx ends.
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

// findUpstream returns the registry that is named most often in the image references of the first
// index.json files, or "" if none is named. Nodes pull from this registry, so their configuration
// has to mention it.
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

// most returns the host with the most votes. In a tie, it returns the first in byte order.
func most(votes map[string]int) (winner string) {
	for host, n := range votes {
		if n > votes[winner] || n == votes[winner] && host < winner {
			winner = host
		}
	}
	return winner
}
