package problem_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// String contains all known fields and nothing else. It does not repeat a chunk that the reason
// names.
func TestProblemAsString(t *testing.T) {
	tags := []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"}
	for want, p := range map[string]problem.Problem{
		"limited: dir: too many files": {Kind: problem.Limited, Path: "dir", Reason: "too many files"},
		"damaged: a.tar: app/index.json in chunk 0001 and chunk 0002: invalid JSON": {Kind: problem.Damaged, Path: "a.tar", Entry: "app/index.json",
			Chunks: []string{"chunk 0001", "chunk 0002"}, Reason: "invalid JSON"},
		"incomplete: a.tar: repository app: tag \"v1\": " + digest + ": missing: copy chunk 0003 again": {Kind: problem.Incomplete, Path: "a.tar", Repository: "app",
			Tags: []string{"v1"}, Digest: digest, Chunks: []string{"chunk 0003", "chunk 0002"}, Suspects: true, Reason: "missing: copy chunk 0003 again"},
		`damaged: "a\n.tar": repository "x\ny": "in the entry a\nb"`:        {Kind: problem.Damaged, Path: "a\n.tar", Repository: "x\ny", Reason: "in the entry a\nb"},
		"conflict: a: tags 1, 2, 3, 4, 5, 6, 7, 8 and 1 more: two digests":  {Kind: problem.Conflict, Path: "a", Tags: tags, Reason: "two digests"},
		"conflict: a: tags 1, 2, 3, 4, 5, 6, 7, 8 and 91 more: two digests": {Kind: problem.Conflict, Path: "a", Tags: tags, MoreTags: 90, Reason: "two digests"},
	} {
		if got := p.String(); got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
}

// In the JSON of /status and of verify's report, a problem has all keys, and its lists are never null.
func TestProblemAsJSON(t *testing.T) {
	p := problem.Problem{Kind: problem.Damaged, Path: "a.tar", Entry: "blobs", Repository: "app", Tags: []string{"v1", "v2"}, Digest: digest,
		Chunks: []string{"chunk 0001", "chunk 0002"}, MediaType: "type", Reason: "why", Err: fs.ErrNotExist, Layout: "app", Harmless: true}
	for _, c := range []struct {
		p    problem.Problem
		want map[string]any
	}{
		{p, map[string]any{"kind": "damaged", "path": "a.tar", "entry": "blobs", "chunk": "chunk 0001 and chunk 0002", "chunks": []any{"chunk 0001", "chunk 0002"},
			"repository": "app", "tag": "v1", "tags": []any{"v1", "v2"}, "digest": digest, "mediaType": "type", "reason": "why", "harmless": true}},
		{p.Bounded(1), map[string]any{"kind": "damaged", "path": "a.tar", "entry": "blobs", "chunk": "chunk 0001 and chunk 0002", "chunks": []any{"chunk 0001", "chunk 0002"},
			"repository": "app", "tag": "v1", "tags": []any{"v1"}, "moreTags": 1.0, "digest": digest, "mediaType": "type", "reason": "why", "harmless": true}},
		{problem.Problem{Kind: problem.Limited}, map[string]any{"kind": "limited", "path": "", "entry": "", "chunk": "", "chunks": []any{},
			"repository": "", "tag": "", "tags": []any{}, "digest": "", "mediaType": "", "reason": ""}},
	} {
		data, err := json.Marshal([]problem.Problem{c.p})
		if err != nil {
			t.Fatal(err)
		}
		var got []map[string]any
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got[0]); diff != "" {
			t.Error(diff)
		}
	}
}

// If only one of several chunks is the most likely one, a client that reads the JSON of a problem names
// this chunk, too.
func TestChunkOfProblemFromJSON(t *testing.T) {
	two := []string{"chunk 0003", "chunk 0002"}
	for _, p := range []problem.Problem{{Chunks: two, Suspects: true}, {Chunks: two}, {Chunks: two[:1]}, {Reason: "why", Tags: []string{"v1"}, MoreTags: 2, Harmless: true}} {
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var got problem.Problem
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if got.Chunk() != p.Chunk() || got.Summary() != p.Summary() || got.String() != p.String() || !got.Equal(p) {
			t.Errorf("a problem read from %s: got %+v, want %+v", data, got, p)
		}
	}
}

// Equal ignores only Err. If any other field differs, the problems are not equal.
func TestEqualProblems(t *testing.T) {
	p := problem.Problem{Kind: problem.Damaged, Path: "a", Tags: []string{"v1"}, Chunks: []string{"chunk 0001"}, Reason: "why"}
	same := p
	if same.Err = fs.ErrNotExist; !p.Equal(same) {
		t.Error("Equal of problems that differ only in Err: got false, want true")
	}
	for name, change := range map[string]func(*problem.Problem){
		"kind": func(p *problem.Problem) { p.Kind = problem.Limited }, "path": func(p *problem.Problem) { p.Path = "b" },
		"entry": func(p *problem.Problem) { p.Entry = "e" }, "chunks": func(p *problem.Problem) { p.Chunks = nil },
		"suspects": func(p *problem.Problem) { p.Suspects = true }, "repository": func(p *problem.Problem) { p.Repository = "r" },
		"tags": func(p *problem.Problem) { p.Tags = []string{"v2"} }, "more tags": func(p *problem.Problem) { p.MoreTags = 1 },
		"digest": func(p *problem.Problem) { p.Digest = digest }, "type": func(p *problem.Problem) { p.MediaType = "t" },
		"reason": func(p *problem.Problem) { p.Reason = "r" }, "layout": func(p *problem.Problem) { p.Layout = "l" },
		"tags unknown": func(p *problem.Problem) { p.TagsUnknown = true }, "harmless": func(p *problem.Problem) { p.Harmless = true },
		"passing": func(p *problem.Problem) { p.Transient = true },
	} {
		if other := p; !func() bool { change(&other); return !p.Equal(other) }() {
			t.Errorf("Equal of problems that differ in the field %q: got true, want false", name)
		}
	}
}

// The error for clients names the archive of an entry without its directory, and says what to do.
func TestErrorForClients(t *testing.T) {
	unknown := errors.New("blob unknown")
	err := &problem.Error{Problem: problem.Problem{Kind: problem.Damaged, Path: "/srv/a.tar", Entry: "app/blobs", Chunks: []string{"chunk 0001"}, Digest: digest, Reason: "other bytes", Err: unknown}}
	if want := "blob unknown: " + digest + ": a.tar: other bytes: copy chunk 0001 again"; err.Error() != want || !errors.Is(err, unknown) {
		t.Errorf("error with an entry: got %v, want one with the archive and the chunk, which wraps Err", err)
	}
	err.Problem.Entry = ""
	if want := "blob unknown: " + digest + ": other bytes"; err.Error() != want {
		t.Errorf("error without an entry: got %v, want one without an archive and a chunk", err)
	}
}
