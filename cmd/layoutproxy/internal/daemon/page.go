package daemon

import (
	"context"
	"time"

	"github.com/layoutproxy/layoutproxy/importer/drop"
	"github.com/layoutproxy/layoutproxy/registry/page"
)

// newPage makes the pages for people.
func (s *Daemon) newPage(a *admin) (*page.Page, error) {
	return page.New(page.Options{
		Source: s.live.tree, Status: a.pageStatus, Version: s.version,
		Registry: page.Registry{Address: s.servers[0].Listener.Addr().String(), TLS: s.flags.TLS.On(), Login: s.flags.Auth.On()},
	})
}

// pageWait is how long a page waits for a storage that hangs; then it shows the problems that were
// known before.
const pageWait = 250 * time.Millisecond

// pageStatus returns the content of /status, as far as it is known without a check.
func (a *admin) pageStatus(ctx context.Context) page.Status {
	s := a.live.tree.Snapshot()
	ctx, cancel := context.WithTimeout(ctx, pageWait)
	defer cancel()
	problems := a.live.problems(ctx)
	status := page.Status{
		Generation: s.Generation(), Since: s.Since(), Repositories: s.RepositoryCount(), Tags: s.TagCount(), Roots: s.Roots(), Sources: s.Sources(),
		Problems: problems, Checked: a.live.checkedUpTo.Load() == s.Generation(), Upstream: a.upstream.of(ctx, s),
		Imports: pageJobs(a.dropping.status()), Pushes: pageJobs(a.follows.pushes()), Refused: a.refusals.count.Load(), DropDir: a.dropDir,
	}
	if verdicts := a.verdicts.of(s, len(problems)); verdicts != nil {
		status.Versions = []page.Version{}
		for _, v := range verdicts {
			one := page.Version{Name: v.Version, Ready: v.Ready}
			for _, reason := range v.Reasons {
				one.Reasons = append(one.Reasons, reason.String())
			}
			status.Versions = append(status.Versions, one)
		}
	}
	if scrub := statusOfScrub(a.scrub); scrub != nil {
		status.Scrub = &page.Scrub{Bytes: scrub.Bytes, Total: scrub.Total, Rate: scrub.Rate, Damaged: scrub.Damaged, Unreadable: scrub.Unreadable}
		if scrub.Ended != nil {
			status.Scrub.Ended = *scrub.Ended
		}
	}
	for _, d := range a.disks.status(ctx) {
		status.Disks = append(status.Disks, page.Disk{Path: d.Path, Free: d.Free, Total: d.Total})
	}
	return status
}

func pageJobs(all []drop.Status) (jobs []page.Job) {
	for _, j := range all {
		jobs = append(jobs, page.Job{Name: j.Name, State: j.State, Detail: j.Detail, Since: j.Since,
			Bytes: j.Bytes, Total: j.Total, Rate: j.Rate, Generation: j.Generation})
	}
	return jobs
}
