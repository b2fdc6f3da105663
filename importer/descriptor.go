package importer

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// wanted is a descriptor to add to an index of the store.
type wanted struct {
	layoutstore.Descriptor
	tag string // tag of the descriptor, or empty
	raw json.RawMessage
}

type wantedKey struct {
	digest digest.Digest
	tag    string
}

// findWanted returns the descriptors of r in the order of its indexes. If several have the same tag, only the
// last keeps it. findWanted omits incomplete or contradictory content, and counts its tags in tags.LeftOut.
func (p *plan) findWanted(ctx context.Context, r repository, tags *Tags) ([]wanted, error) {
	complete := func(digest.Digest) bool { return true }
	if len(p.problems.all) > 0 {
		ok, err := p.findComplete(ctx, r)
		if err != nil {
			return nil, err
		}
		complete = func(d digest.Digest) bool { return ok[d] }
	}
	repo := r.repo
	var want []wanted
	seen := map[wantedKey]int{}
	for _, l := range repo.Layouts() {
		entries, err := l.Index(ctx)
		if err != nil {
			return nil, err
		}
		several := layoutstore.HasTagsOfSeveralRepositories(r.path, entries)
		for _, e := range entries {
			w := wanted{e.Descriptor, e.Tag, e.Raw}
			winner, err := repo.TagDigest(w.tag)
			switch {
			case w.tag == "" && e.ByDigest:
			case err != nil || several && e.Repository != "" && winner != w.Digest:
				w.tag = "" // it has no tag, or one of another repository, which no image has taken from it
				w = w.untagged()
			case winner != w.Digest:
				w = w.untagged()
			case e.Repository != "":
				w = w.pinned()
			}
			if c := p.byDigest[w.Digest]; c == nil || c.size != w.Size || !complete(w.Digest) || p.contradicted[typedDigest{repo.Path(), w.Digest, w.MediaType}] {
				continue
			}
			key := wantedKey{w.Digest, w.tag}
			if i, ok := seen[key]; ok {
				// Of the descriptors with this digest and tag, the last one wins. Only one that has lost its tag does
				// not win against one that never had a tag.
				if !w.isReplaced() || want[i].isReplaced() {
					want[i] = w
				}
				continue
			}
			seen[key] = len(want)
			want = append(want, w)
		}
	}
	all, _ := repo.Tags("", -1)
	for _, tag := range all {
		if d, err := repo.TagDigest(tag); err == nil {
			if _, ok := seen[wantedKey{d, tag}]; !ok {
				tags.LeftOut++
			}
		}
	}
	return want, nil
}

// pinned returns the descriptor with its tag in a second annotation, publish.ShortTag. This annotation
// decides which tag the descriptor has, even if the store's index also gets images of other repositories.
func (w wanted) pinned() wanted {
	w.raw = publish.EditAnnotations(w.raw, func(annotations map[string]json.RawMessage) {
		annotations[publish.ShortTag], _ = publish.Marshal(w.tag) // cannot fail: the tag is a string
	})
	return w
}

// isReplaced reports whether the descriptor has lost its tag to another manifest.
func (w wanted) isReplaced() bool {
	var d struct {
		Annotations map[string]json.RawMessage `json:"annotations"`
	}
	return w.tag == "" && json.Unmarshal(w.raw, &d) == nil && d.Annotations[publish.ReplacedTag] != nil
}

// untagged returns the descriptor without its tag and with all other fields.
func (w wanted) untagged() wanted {
	w.tag, w.raw = "", publish.WithoutTag(w.raw, w.Digest, w.tag)
	// JSON keys can be spelled in several ways. So parse the result to check that the tag is gone.
	entries, err := layoutstore.ParseIndex(slices.Concat([]byte(`{"schemaVersion":2,"manifests":[`), w.raw, []byte(`]}`)), ".")
	if err != nil || len(entries) != 1 || entries[0].Tag != "" {
		w.raw, _ = publish.Marshal(w.Descriptor) // cannot fail: a descriptor has only strings and a number
	}
	return w
}
