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
// cancels an upload in a repository of each project, below the destination and beside
// it, and asks for the referrers of something where there are any to be pushed, and to
// mount something where blobs are to be mounted. What it finds out for the worse ends the push or is told.
func (p *Pusher) preflight(ctx context.Context, w *work) error {
	for _, r := range p.probed(w) {
		probe, err := p.Client.ProbeUpload(ctx, r.Name)
		if err != nil {
			return sided("preflight", r.Name, "", Diagnose(err))
		}
		if probe.Patch != nil {
			p.tell(fmt.Sprintf("uploads to %s cannot be resumed: %v", r.Name, probe.Patch))
		}
	}
	if err := p.probeMounts(ctx, w); err != nil {
		return err
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

// mount is a way that blobs are to take.
type mount struct{ from, to string }

// probeMounts tries a mount between each two projects between which there will be some.
func (p *Pusher) probeMounts(ctx context.Context, w *work) error {
	for _, m := range p.mounts(w) {
		refused, err := p.Client.ProbeMount(ctx, m.to, m.from)
		if err != nil {
			return sided("preflight", m.to, "", Diagnose(err))
		}
		if refused != nil {
			p.tell(fmt.Sprintf("mounts from %s into %s are refused, and blobs are sent to each repository that needs them; %s: %v", m.from, m.to, mountRemedy(refused), refused))
		}
	}
	return nil
}

// mountRemedy is what to do about a refused mount.
func mountRemedy(err error) string {
	switch {
	case errors.Is(err, client.ErrUnauthorized), errors.Is(err, client.ErrDenied):
		return "give the user the right to pull from there as well"
	case errors.Is(err, client.ErrMismatch):
		return "the registry's storage, or a proxy in front of it, is at fault"
	}
	return "let what stands in front of the registry pass POST with mount= and from="
}

// mounts are those to try: of each project into each, the first that the push will need.
func (p *Pusher) mounts(w *work) (list []mount) {
	p.mu.Lock()
	defer p.mu.Unlock()
	tried := map[mount]bool{}
	for _, b := range p.Plan.Blobs {
		from := p.homes[b.Digest]
		for _, r := range w.blobs[b] {
			if from == "" {
				from = r.Name // to which it is sent first
			}
			a, c := p.project(from), p.project(r.Name)
			if r.Name == from || tried[mount{a, c}] {
				continue
			}
			tried[mount{a, c}] = true
			list = append(list, mount{from, r.Name})
		}
	}
	return list
}

// project is the part of the registry whose rights a repository shares: the destination,
// or what is beside it, as deckhouse/installer is beside deckhouse/ee. Without a path in
// the destination it is the first segment.
func (p *Pusher) project(repository string) string {
	segments := strings.Split(repository, "/")
	depth := strings.Count(p.Plan.Destination.Path, "/") + 1
	return strings.Join(segments[:min(depth, len(segments))], "/")
}

// probed are the repositories to try: of each project the one with the most segments
// among those to be written. What an edition has beside it is a project of its own: who
// may write below deckhouse/ee may be refused at deckhouse/installer.
func (p *Pusher) probed(w *work) []*Repository {
	deepest := map[string]*Repository{}
	var projects []string
	for _, r := range p.Plan.Repositories {
		if !w.concerns(r) {
			continue
		}
		project := p.project(r.Name)
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
	found, err := p.Client.Referrers(ctx, r.Name, d)
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		return sided("preflight", r.Name, d, Diagnose(err))
	}
	if found.Unknown != nil {
		p.tell(fmt.Sprintf("the registry does not say what refers to others, which is not needed for a push: %v", found.Unknown))
		return nil
	}
	if !found.API {
		p.tell("the registry has no referrers API: what refers to others is listed by tags")
	}
	return nil
}
