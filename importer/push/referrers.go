package push

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// referrersTags adds pushed manifests to the referrers tags of their subjects, in registries
// without the referrers API (distribution specification, "Pushing Manifests with Subject"). It
// does not change a referrers tag that is itself in the plan.
func (p *pusher) referrersTags(ctx context.Context) error {
	var tasks []*task
	for _, r := range p.Plan.Repositories {
		bySubject := map[digest.Digest][]*Manifest{}
		var subjects []digest.Digest
		for _, m := range p.states[r].subjectIgnored {
			d := m.Refs.Subject.Digest
			if slices.ContainsFunc(r.Tags, func(t Tag) bool { return t.Name == names.ReferrersTag(d) }) {
				continue
			}
			if bySubject[d] == nil {
				subjects = append(subjects, d)
			}
			bySubject[d] = append(bySubject[d], m)
		}
		for _, d := range subjects {
			tasks = append(tasks, &task{run: func(ctx context.Context) error { return p.referrersTag(ctx, r, d, bySubject[d]) }})
		}
	}
	return perform(ctx, p.Jobs, tasks)
}

// referrersTag adds manifests to the list in a subject's referrers tag.
func (p *pusher) referrersTag(ctx context.Context, r *Repository, subject digest.Digest, manifests []*Manifest) error {
	tag := names.ReferrersTag(subject)
	list := specs.Index{MediaType: specs.MediaTypeImageIndex}
	list.SchemaVersion = 2
	have, err := p.Client.Manifest(ctx, r.Name, tag)
	if err == nil {
		err = json.Unmarshal(have.Body, &list)
	}
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		return withSide("referrers tag", r.Name, subject, err)
	}
	before := len(list.Manifests)
	for _, m := range manifests {
		if !slices.ContainsFunc(list.Manifests, func(d specs.Descriptor) bool { return d.Digest == m.Digest }) {
			list.Manifests = append(list.Manifests, specs.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: m.Size,
				ArtifactType: m.Refs.ArtifactType, Annotations: m.Refs.Annotations})
		}
	}
	if len(list.Manifests) == before {
		return nil
	}
	body, err := json.Marshal(list)
	if err != nil {
		return err
	}
	m := client.Manifest{MediaType: specs.MediaTypeImageIndex, Digest: digest.FromBytes(body), Body: body}
	if _, err := p.Client.PutManifest(ctx, r.Name, tag, m); err != nil {
		return withSide("referrers tag", r.Name, subject, Diagnose(err))
	}
	p.recordWritten(written{repository: r, name: tag, digest: m.Digest, size: int64(len(body))})
	p.count(func(s *Summary) { s.ReferrersTags++ })
	return nil
}
