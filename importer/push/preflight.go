package push

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// preflight tries what the push will need, before it sends anything: it starts and
// cancels an upload in a repository of each project, and asks for the referrers of
// something where there are any to be pushed. What it finds out for the worse ends the
// push or is told.
func (p *Pusher) preflight(ctx context.Context, w *work) error {
	for _, r := range p.probed(w) {
		probe, err := p.Client.ProbeUpload(ctx, r.Name)
		if err != nil {
			return sided("preflight", r.Name, "", diagnose(err))
		}
		if probe.Patch != nil {
			p.Notice(fmt.Sprintf("uploads to %s cannot be resumed: %v", r.Name, probe.Patch))
		}
	}
	for r, manifests := range w.manifests {
		for _, m := range manifests {
			if m.Refs.Subject != nil {
				return p.probeReferrers(ctx, r, m.Refs.Subject.Digest)
			}
		}
	}
	return nil
}

// probed are the repositories to try: of each first segment, and below the destination
// each second one, the one with the most segments among those to be written.
func (p *Pusher) probed(w *work) []*Repository {
	deepest := map[string]*Repository{}
	var projects []string
	for _, r := range p.Plan.Repositories {
		if len(w.manifests[r]) == 0 {
			continue
		}
		project, _, _ := strings.Cut(r.Name, "/")
		have := deepest[project]
		if have == nil {
			projects = append(projects, project)
		}
		if have == nil || strings.Count(r.Name, "/") > strings.Count(have.Name, "/") {
			deepest[project] = r
		}
	}
	list := make([]*Repository, len(projects))
	for i, project := range projects {
		list[i] = deepest[project]
	}
	return list
}

func (p *Pusher) probeReferrers(ctx context.Context, r *Repository, d digest.Digest) error {
	_, api, err := p.Client.Referrers(ctx, r.Name, d)
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		return sided("preflight", r.Name, d, diagnose(err))
	}
	if !api {
		p.Notice("the registry has no referrers API: what refers to others is listed by tags")
	}
	return nil
}
