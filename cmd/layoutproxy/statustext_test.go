package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/daemon"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/importer/drop"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// FuzzStatus lets a server answer anything. Either the answer is refused, or it is printed without
// hidden characters. The exit status is 3 if a problem is neither harmless nor a conflict, otherwise 0.
func FuzzStatus(f *testing.F) {
	for _, s := range []string{
		`{}`, `null`, `{"generation":1}`, `{"generation":1,"checked":true,"roots":["deckhouse/ee",""],"sources":[{"path":"/media","kind":"directory","state":"ready","repositories":1}]}`,
		`{"generation":1,"problems":[{"kind":"damaged","path":"/a.tar","chunks":["chunk 0001"],"tags":["v1"],"reason":"x"},{"kind":"conflict"}]}`,
		`{"generation":1,"imports":[{"name":"a\u001b[2J","state":"verifying","bytes":-5,"total":3,"rate":1}],"pushes":[{"state":"failed","detail":"no"}]}`,
		`{"generation":1,"prunes":[{"time":"2026-11-28T03:30:00Z","state":"pruned","tags":2,"manifests":-1,"blobs":1,"bytes":-9223372036854775808,"generation":7}],"ready":[{"reasons":[{}]}]}`,
		`{"generation":-1}`, `{"generation":1,"imports":[{"total":9223372036854775807,"bytes":-9223372036854775808,"rate":1}]}`, `<html>`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, ok := parseStatus(data)
		if !ok {
			return
		}
		var b bytes.Buffer
		if err := printStatus(console.NewPrintable(&b), s, "127.0.0.1:5580"); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		hidden := func(r rune) bool { return r != '\n' && r != '\t' && problem.IsHidden(r) }
		if !strings.HasPrefix(text, "127.0.0.1:5580: generation ") || !strings.HasSuffix(text, "\n") || strings.ContainsFunc(text, hidden) {
			t.Fatalf("the status %q is printed as %q, want the first line, and no hidden characters", data, text)
		}
		failures := 0
		for _, p := range s.Problems {
			if p.Kind != layoutstore.Conflict && !p.Harmless {
				failures++
			}
		}
		if status := exit.Status(statusError(s)); (status == exit.Content) != (failures > 0) || failures == 0 && status != exit.Done {
			t.Fatalf("%d problems that are neither harmless nor conflicts: got exit status %d, want 3 with problems, 0 without", failures, status)
		}
	})
}

// A name from a bundle cannot imitate further lines of the status.
func TestStatusKeepsNamesOnOneLine(t *testing.T) {
	var b bytes.Buffer
	printProblems(&b, []layoutstore.Problem{{Kind: layoutstore.IllegalName, Path: "/in/a\nb", Repository: "app", Tags: []string{"v1\nNo problems."}, Reason: "not a legal tag"}})
	const want = "\nProblems:\n  illegal-name: \"/in/a\\nb\": not a legal tag\n    affects \"app:v1\\nNo problems.\"\n"
	if got := b.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Nor can the name of a dropped bundle, or a name in the detail of an import, a push or a prune.
func TestStatusKeepsJobsOnOneLine(t *testing.T) {
	var b bytes.Buffer
	printJobs(&b, "Imports", []drop.Status{{Name: "a\nb.tar", State: "published", Detail: "1 file stays: c\nNo problems."}})
	printPrunes(&b, []daemon.PruneStatus{{State: "failed", Detail: "d\nNo problems."}})
	const want = "\nImports:\n  published  \"a\\nb.tar\"  \"1 file stays: c\\nNo problems.\"\n" +
		"\nPrunes:\n  failed  0001-01-01 00:00 UTC  \"d\\nNo problems.\"\n"
	if got := b.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
