package push

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// preflight tries the operations that the push needs, before the push sends content. In one repository
// per project, it starts an upload, sends two bytes with PATCH, and cancels the upload. If the push needs
// mounts or the referrers API, preflight tries these, too. If PATCH, mounts or the referrers API are missing,
// refused or failing, it reports a notice. Other errors, such as a refused upload, end the push.
func (p *pusher) preflight(ctx context.Context, w *work) error {
	for _, r := range p.deepestRepositories(w) {
		refused, err := p.Client.ProbeUpload(ctx, r.Name)
		if err != nil {
			return withSide("preflight", r.Name, "", Diagnose(err))
		}
		if refused != nil {
			p.notify(fmt.Sprintf("uploads to %s cannot be resumed: %v", r.Name, refused))
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

// mount is a mount of blobs from one repository into another.
type mount struct{ from, to string }

// probeMounts tries one mount for each pair of projects between which blobs are mounted.
func (p *pusher) probeMounts(ctx context.Context, w *work) error {
	for _, m := range p.firstMounts(w) {
		refused, err := p.Client.ProbeMount(ctx, m.to, m.from)
		if err != nil {
			return withSide("preflight", m.to, "", Diagnose(err))
		}
		if refused != nil {
			p.notify(fmt.Sprintf("mounts from %s into %s are refused, so blobs are sent to each repository that needs them; %s: %v", m.from, m.to, mountRemedy(refused, m.from), refused))
		}
	}
	return nil
}

func mountRemedy(err error, from string) string {
	switch {
	case errors.Is(err, client.ErrUnauthorized), errors.Is(err, client.ErrDenied):
		return "give the user the right to pull from " + from + ", too"
	case errors.Is(err, client.ErrMismatch):
		return "the registry's storage, or a proxy in front of the registry, is at fault"
	}
	return "configure the proxy in front of the registry to pass on POST requests with the parameters mount and from"
}

// firstMounts returns the first mount that the push needs for each pair of projects.
func (p *pusher) firstMounts(w *work) (list []mount) {
	p.mu.Lock()
	defer p.mu.Unlock()
	tried := map[mount]bool{}
	for _, b := range p.Plan.Blobs {
		from := p.homes[b.Digest]
		for _, r := range w.blobs[b] {
			if from == "" {
				from = r.Name // this repository gets the blob first
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

// project returns the project of a repository: the part of the registry in which all repositories
// have the same permissions. It is the destination or a path beside it, as deckhouse/installer is
// beside deckhouse/ee. If the destination has no path, the project is the repository's first
// segment.
func (p *pusher) project(repository string) string {
	segments := strings.Split(repository, "/")
	depth := strings.Count(p.Plan.Destination.Path, "/") + 1
	return strings.Join(segments[:min(depth, len(segments))], "/")
}

// deepestRepositories returns one repository for each project to which the push writes: the one
// with the most segments. A path beside an edition is a separate project, because a user who may
// write below deckhouse/ee may be refused at deckhouse/installer.
func (p *pusher) deepestRepositories(w *work) []*Repository {
	deepest := map[string]*Repository{} // by project
	for _, r := range p.Plan.Repositories {
		have := deepest[p.project(r.Name)]
		if w.includes(r) && (have == nil || strings.Count(r.Name, "/") > strings.Count(have.Name, "/")) {
			deepest[p.project(r.Name)] = r
		}
	}
	return slices.SortedFunc(maps.Values(deepest), compareNames)
}

func (p *pusher) probeReferrers(ctx context.Context, r *Repository, d digest.Digest) error {
	found, err := p.Client.Referrers(ctx, r.Name, d)
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		return withSide("preflight", r.Name, d, Diagnose(err))
	}
	if found.Unknown != nil {
		p.notify(fmt.Sprintf("the registry does not list referrers; the push works without the list: %v", found.Unknown))
		return nil
	}
	if !found.API {
		p.notify("the registry has no referrers API: the push lists referrers in tags")
	}
	return nil
}
