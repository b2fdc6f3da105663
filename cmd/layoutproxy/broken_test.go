package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// output runs a command. It returns what the command writes to both streams, and its exit status.
func output(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	status := run(t.Context(), args, &out, &out)
	return out.String(), status
}

func body(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	layouttest.Try(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	layouttest.Try(t, err)
	return string(data)
}

// Whatever is wrong with one chunk, every report of layoutproxy names the archive and tells the
// user which chunk to copy again.
func TestBrokenChunkIsNamedEverywhere(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for name, test := range map[string]struct {
		damage func(t *testing.T, chunks []string)
		// chunk is the text that every report must contain: the chunk to copy again, or the advice
		// to copy the archive.
		chunk string
		// never is a chunk that never existed, so no report may name it.
		never string
		// image is an image that the damage affects.
		image string
		// read is what verify reports about the tags of platform.tar, or "" if it knows all of them.
		read string
		// failed is whether a drop directory refuses the bundle, instead of waiting for the chunk.
		failed bool
	}{
		"last chunk missing": {
			damage: func(t *testing.T, chunks []string) { layouttest.Try(t, os.Remove(chunks[len(chunks)-1])) },
			chunk:  "chunk 0003", never: "chunk 0004", image: "deckhouse/ee/release-channel:v1.70.1",
			read: "platform.tar cannot be read to its end, because of chunk 0003 or chunk 0002: its tags are unknown. ",
		},
		"last chunk truncated": {
			damage: func(t *testing.T, chunks []string) { layouttest.Try(t, os.Truncate(chunks[3], 1000)) },
			chunk:  "chunk 0003", never: "chunk 0004", image: "deckhouse/ee/release-channel:v1.70.1",
			read: "platform.tar cannot be read to its end, because of chunk 0002 or chunk 0003 or any later chunks: its tags are unknown. ",
		},
		"archive truncated": {
			damage: func(t *testing.T, chunks []string) {
				first, err := os.ReadFile(chunks[0])
				layouttest.Try(t, err)
				second, err := os.ReadFile(chunks[1])
				layouttest.Try(t, err)
				for _, chunk := range chunks {
					layouttest.Try(t, os.Remove(chunk))
				}
				archive, _, _ := strings.Cut(chunks[0], ".0000.")
				layouttest.Try(t, os.WriteFile(archive, append(first, second...), 0o644))
			},
			chunk: "copy the archive again", never: "chunk ", image: "deckhouse/ee:v1.70.1",
			read: "platform.tar cannot be read to its end: its tags are unknown. 78 tags of 23 other repositories are complete",
		},
		"third chunk missing": {
			damage: func(t *testing.T, chunks []string) { layouttest.Try(t, os.Remove(chunks[2])) },
			chunk:  "chunk 0002", image: "deckhouse/ee:v1.70.1",
			read: "platform.tar cannot be read from chunk 0002 on: its tags are unknown. 78 tags of 23 other repositories are complete",
		},
		"second chunk truncated": {
			damage: func(t *testing.T, chunks []string) { layouttest.Try(t, os.Truncate(chunks[1], 100_000)) },
			chunk:  "chunk 0001", image: "deckhouse/ee:v1.70.1",
			read: "platform.tar cannot be read to its end, because of chunk 0001 or chunk 0000: its tags are unknown. 78 tags of 23 other repositories are complete",
		},
		"second chunk damaged": {
			damage: func(t *testing.T, chunks []string) {
				data, err := os.ReadFile(chunks[1])
				layouttest.Try(t, err)
				for i := range 1000 { // these bytes belong to a layer that begins in the first chunk
					data[i] ^= 0x55
				}
				layouttest.Try(t, os.WriteFile(chunks[1], data, 0o644))
			},
			chunk: "chunk 0001", image: "deckhouse/ee:v1.70.1", failed: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			drop := t.TempDir()
			dir := filepath.Join(t.TempDir(), "bundle")
			layouttest.Try(t, os.CopyFS(dir, os.DirFS("testdata/d8")))
			test.damage(t, layouttest.Split(t, filepath.Join(dir, "platform.tar"), 300_000))
			named := func(place, text string) {
				t.Helper()
				if !strings.Contains(text, "platform.tar") || !strings.Contains(text, test.chunk) {
					t.Errorf("%s: got %q, want a text with platform.tar and %q", place, text, test.chunk)
				}
				if test.never != "" && strings.Contains(strings.ReplaceAll(text, `"chunk `, ""), test.never) {
					t.Errorf("%s: got %q, want a text without %q, which never existed", place, text, test.never)
				}
			}
			for _, command := range []string{"list", "verify"} {
				text, status := output(t, command, dir)
				named(command, text)
				if status != 3 {
					t.Errorf("exit status of %s is %d, want 3", command, status)
				}
				if command == "verify" && (!strings.Contains(text, test.read) || strings.Contains(text, "0 of ")) {
					t.Errorf("verify printed %q, want a text with %q", text, test.read)
				}
			}
			imported, _ := output(t, "import", dir, "--store", t.TempDir())
			named("import", imported)

			p := start(t, "--settle", "20ms", "--store", t.TempDir(), "--drop-dir", drop, dir)
			api, admin := "http://"+p.addresses["registry"], "http://"+p.addresses["admin"]
			layouttest.Eventually(t, "/status reports the chunk", func() bool {
				s := body(t, admin+"/status")
				return strings.Contains(s, test.chunk) && strings.Contains(s, `"checked":true`)
			})
			named("/status", body(t, admin+"/status"))
			status, code := output(t, "status", admin)
			named("status", status)
			if code != 3 {
				t.Errorf("exit status of status is %d, want 3", code)
			}
			node, code := output(t, "doctor", api)
			named("doctor", node)
			if code != 0 {
				t.Errorf("exit status of doctor without an image is %d, want 0", code)
			}
			image, code := output(t, "doctor", api, test.image)
			named("doctor with an image", image[strings.Index(image, "failed"):])
			if code != 3 {
				t.Errorf("exit status of doctor with an image is %d, want 3", code)
			}
			if !test.failed {
				named("the 404", body(t, api+"/v2/"+strings.ReplaceAll(test.image, ":", "/manifests/")))
				named("the 404", body(t, api+"/v2/deckhouse/ee/no-such-repository/manifests/v1"))
			}
			layouttest.Try(t, os.Rename(dir, filepath.Join(drop, "bundle")))
			if !test.failed {
				layouttest.Eventually(t, "/status reports that the import waits for the chunk", func() bool {
					_, imports, _ := strings.Cut(body(t, admin+"/status"), `"imports"`)
					return strings.Contains(imports, "platform.tar") && strings.Contains(imports, test.chunk)
				})
				return
			}
			reason := filepath.Join(drop, "failed", "bundle.reason.json")
			layouttest.Eventually(t, "the bundle is moved to failed/", func() bool { _, err := os.Stat(reason); return err == nil })
			data, err := os.ReadFile(reason)
			layouttest.Try(t, err)
			named("reason.json", string(data))
		})
	}
}
