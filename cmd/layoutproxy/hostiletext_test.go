package main

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Names, tags and file names from a bundle cannot control the terminal, and cannot imitate lines of
// layoutproxy's output.
func TestHostileTextIsPrintable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	index := `{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha256:` + strings.Repeat("a", 64) +
		`","size":3,"annotations":{"org.opencontainers.image.ref.name":"bad\u001b[31mtag\ncomplete: 1 tag"}}]}`
	for _, path := range []string{"ok", "x\x1b]0;title\x07"} {
		for name, data := range map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": index} {
			if err := w.WriteHeader(&tar.Header{Name: path + "/" + name, Mode: 0o644, Size: int64(len(data))}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write([]byte(data)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"a.tar": b.Bytes(), "b\x1b[2J\r.tar.gz": []byte("x")} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"list", dir}, {"list", "--output", "json", dir}, {"verify", dir}, {"verify", "--output", "json", dir},
		{"import", dir, "--store", filepath.Join(t.TempDir(), "store")}, {"push", "--dry-run", dir, "127.0.0.1:1/x"}, {"list", dir + "/none\x1b[2J"},
	} {
		var stdout, stderr bytes.Buffer
		run(t.Context(), args, &stdout, &stderr)
		for _, out := range []string{stdout.String(), stderr.String()} {
			if i := strings.IndexFunc(out, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f }); i >= 0 {
				t.Errorf("layoutproxy %q prints %q, want no control characters", args, out[max(0, i-40):min(len(out), i+40)])
			}
			if strings.Contains(out, "\ncomplete: 1 tag") {
				t.Errorf("layoutproxy %q: want no line that is a text from the bundle, got\n%s", args, out)
			}
			if strings.Contains(out, "-1 ") {
				t.Errorf("layoutproxy %q: want no negative number, got\n%s", args, out)
			}
		}
		if stdout.Len()+stderr.Len() == 0 {
			t.Errorf("layoutproxy %q prints nothing, want a result or an error", args)
		}
	}
}
