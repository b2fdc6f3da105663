package prune

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// execute carries out the plan. If there is a grace period, it removes only tags for now.
// Otherwise, it removes the images.
func (w *work) execute(ctx context.Context) error {
	if w.plan.IsEmpty() {
		return nil
	}
	j, err := w.journal(ctx)
	if err != nil {
		return err
	}
	if !w.isAtOnce() && len(j.Indexes)+len(w.plan.Remove.Archives) == 0 && len(j.Prune.State.Pruned) == len(w.store.state().Pruned) {
		return nil // an earlier prune has already removed all tags of the plan
	}
	if err := w.store.publish(ctx, j); err != nil {
		return err
	}
	w.reserve(ctx)
	return nil
}

func (w *work) isAtOnce() bool { return w.request.Grace == 0 }

func (w *work) due() time.Time { return w.pruner.now().Add(w.request.Grace).UTC() }

// journal stages the rewritten archives, and returns the journal for the publication.
func (w *work) journal(ctx context.Context) (*journal.Journal, error) {
	j := &journal.Journal{Generation: w.store.state().Generation + 1, Prune: &journal.Prune{}}
	if err := w.changeIndexes(ctx, j); err != nil {
		return nil, err
	}
	if w.isAtOnce() {
		j.Prune.Removed = slices.Clone(w.removed)
		for _, a := range w.plan.Remove.Archives {
			j.Prune.Removed = append(j.Prune.Removed, a.Files...)
		}
	}
	if err := w.repack(ctx, j); err != nil {
		return nil, err
	}
	j.Prune.State = w.state(j)
	return j, nil
}

func (w *work) changeIndexes(ctx context.Context, j *journal.Journal) error {
	for _, r := range w.found.Repositories {
		if !r.isIn(0) {
			continue
		}
		old, err := w.store.index(ctx, r.Path)
		if err != nil {
			return err
		}
		fresh, changed, err := rewriteIndex(old, r.Path, func(e layoutstore.IndexEntry) action { return w.actionOf(r, e, w.isAtOnce()) })
		if err != nil {
			return err
		}
		if changed {
			j.Indexes = append(j.Indexes, journal.IndexChange{Path: r.Path, Old: old, New: fresh})
		}
	}
	return nil
}

// action says what a prune does with a descriptor in an index.
type action int

const (
	keepEntry action = iota
	untagEntry
	removeEntry
)

// actionOf decides what to do with a descriptor. If another image has taken the descriptor's tag,
// the tag is removed from the descriptor. Otherwise, the tag would lead to the old image again once
// the other image is removed.
func (w *work) actionOf(r *Repository, e layoutstore.IndexEntry, atOnce bool) action {
	image := r.image(e.Digest)
	switch {
	case image == nil, r.Unclear != "":
		return keepEntry
	case !w.stays(r, e.Digest) && atOnce:
		return removeEntry
	case e.Tag != "" && (!w.stays(r, e.Digest) || !slices.Contains(image.Tags, e.Tag)):
		return untagEntry
	}
	return keepEntry
}

func (w *work) stays(r *Repository, d digest.Digest) bool {
	i, ok := slices.BinarySearchFunc(w.outcome.Decisions, ref{r.Path, d}, compareDecision)
	return !ok || w.outcome.Decisions[i].Keep
}

// rewriteIndex removes or untags descriptors of an index.json, and keeps everything else in it.
func rewriteIndex(data []byte, at string, decide func(layoutstore.IndexEntry) action) (fresh []byte, changed bool, err error) {
	entries, err := layoutstore.ParseIndex(data, at)
	if err != nil {
		return nil, false, err
	}
	doc, raw, err := publish.IndexFields(data)
	if err != nil {
		return nil, false, err
	}
	for _, e := range entries {
		switch decide(e) {
		case removeEntry:
			raw[e.Number] = nil
		case untagEntry:
			raw[e.Number] = untagged(e)
		default:
			continue
		}
		changed = true
	}
	if !changed {
		return nil, false, nil
	}
	raw = slices.DeleteFunc(raw, func(r json.RawMessage) bool { return r == nil })
	if doc["manifests"], err = publish.Marshal(raw); err != nil {
		return nil, false, err
	}
	fresh, err = publish.Marshal(doc)
	return fresh, true, err
}

func untagged(e layoutstore.IndexEntry) json.RawMessage {
	raw := publish.WithoutTag(e.Raw, e.Digest, "")
	// JSON can spell a field name in several ways. So parse the result, and check that it has no tag.
	again, err := layoutstore.ParseIndex(slices.Concat([]byte(`{"schemaVersion":2,"manifests":[`), raw, []byte(`]}`)), ".")
	if err != nil || len(again) != 1 || again[0].Tag != "" {
		raw, _ = publish.Marshal(e.Descriptor) // cannot fail, as a descriptor has only strings and a number
	}
	return raw
}

func (w *work) state(j *journal.Journal) journal.State {
	next := w.store.state()
	next.Generation = j.Generation
	next.Pruned = w.pruned(next.Pruned)
	next.Packed = slices.Clone(next.Packed)
	due := w.due()
	for _, a := range w.plan.Remove.Archives {
		n := slices.IndexFunc(next.Packed, func(k journal.Packed) bool { return k.File == a.File })
		if n < 0 { // somebody has copied this archive into the store
			n = len(next.Packed)
			next.Packed = append(next.Packed, journal.Packed{File: a.File, Name: a.File})
		}
		if w.isAtOnce() {
			next.Packed[n].Dropped = true
		} else if next.Packed[n].Retired == nil {
			next.Packed[n].Retired = &due
		}
	}
	next.Packed = append(next.Packed, j.Packed...)
	return next
}

// pruned lists the manifests that are in their grace period after the prune. It skips manifests that have a
// tag again, or are already removed.
func (w *work) pruned(old []journal.Pruned) (all []journal.Pruned) {
	listed := map[ref]bool{}
	for _, p := range old {
		at := ref{p.Path, p.Digest}
		i := slices.IndexFunc(w.found.Repositories, func(r *Repository) bool { return r.Path == p.Path })
		if i < 0 || listed[at] {
			continue
		}
		r := w.found.Repositories[i]
		if image := r.image(p.Digest); image != nil && len(image.Tags) == 0 && (!w.isAtOnce() || w.stays(r, p.Digest)) {
			all, listed[at] = append(all, p), true
		}
	}
	if w.isAtOnce() {
		return all
	}
	due := w.due()
	for _, x := range w.plan.Remove.Images {
		if at := (ref{x.Repository, x.Digest}); !listed[at] {
			all, listed[at] = append(all, journal.Pruned{Path: x.Repository, Digest: x.Digest, After: due}), true
		}
	}
	return all
}

func (w *work) reserve(ctx context.Context) {
	var indexes int64
	for _, r := range w.found.Repositories {
		if data, err := w.store.index(ctx, r.Path); err == nil {
			indexes += int64(len(data))
		}
	}
	w.store.reserve(indexes)
}

// Sweep removes the images that earlier prunes have untagged, if their grace period is over. next is the end
// of the next grace period, or zero if there is none. Errors are ErrLocked and those of [Pruner.Run].
func (p *Pruner) Sweep(ctx context.Context) (removed Plan, next time.Time, err error) {
	state, err := p.readState(ctx)
	if err != nil {
		return removed, next, err
	}
	if next = nextDue(state, time.Time{}); next.IsZero() || next.After(p.now()) {
		return removed, next, nil
	}
	removed, err = p.prune(ctx, Request{}, func(w *work) error {
		err := w.execute(ctx)
		next = nextDue(w.store.state(), p.now())
		return err
	})
	return removed, next, err
}

// nextDue returns the earliest end of a grace period after a given time, or zero if there is none.
func nextDue(s journal.State, after time.Time) (next time.Time) {
	consider := func(due time.Time) {
		if due.After(after) && (next.IsZero() || due.Before(next)) {
			next = due
		}
	}
	for _, p := range s.Pruned {
		consider(p.After)
	}
	for _, k := range s.Packed {
		if k.Retired != nil && !k.Dropped {
			consider(*k.Retired)
		}
	}
	return next
}
