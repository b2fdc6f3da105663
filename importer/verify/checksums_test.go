package verify_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/importer/verify"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/streebog"
)

// bundle packs the sample into two archives, one of them in chunks. It returns their directory and the
// chunks.
func bundle(t *testing.T) (dir string, chunks []string) {
	t.Helper()
	s := newSample(t, t.TempDir())
	dir = t.TempDir()
	s.Archive(filepath.Join(dir, "platform.tar"), layouttest.Archive{Layouts: []string{"install"}})
	s.Archive(filepath.Join(dir, "module-x.tar"), layouttest.Archive{Layouts: []string{"modules/x"}})
	return dir, layouttest.Split(t, filepath.Join(dir, "platform.tar"), 4096)
}

func read(t *testing.T, files ...string) (all []byte) {
	t.Helper()
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, body...)
	}
	return all
}

func gost(b []byte) string {
	h := streebog.New()
	h.Write(b)
	return hex.EncodeToString(h.Sum(nil))
}
func sha2(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }

func reversed(t *testing.T, text string) string {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(b)
	return hex.EncodeToString(b)
}

func lines(r *verify.Report, dir string) (all []string) {
	for _, c := range r.Checksums {
		line := fmt.Sprintf("%s: %s of %s: %s", strings.TrimPrefix(c.File, dir+"/"), c.Algorithm, strings.TrimPrefix(c.Of, dir+"/"), c.State)
		if c.Reason != "" {
			line += ": " + strings.ReplaceAll(c.Reason, dir, "DIR")
		}
		all = append(all, line)
	}
	return all
}

func TestChecksumFilesAreCompared(t *testing.T) {
	for name, c := range map[string]struct {
		files func(t *testing.T, dir string, chunks []string) map[string]string
		want  []string
		whole bool
	}{
		"checksum files like those of d8": {
			func(t *testing.T, dir string, chunks []string) map[string]string {
				files := map[string]string{"module-x.tar.gostsum": gost(read(t, dir+"/module-x.tar"))}
				for _, chunk := range chunks[:2] {
					files[filepath.Base(chunk)+".gostsum"] = gost(read(t, chunk))
				}
				return files
			},
			[]string{
				"module-x.tar.gostsum: gost of module-x.tar: same",
				"platform.tar.0000.chunk.gostsum: gost of platform.tar.0000.chunk: same",
				"platform.tar.0001.chunk.gostsum: gost of platform.tar.0001.chunk: same",
			},
			true,
		},
		"an archive in chunks": {
			func(t *testing.T, dir string, chunks []string) map[string]string {
				return map[string]string{"platform.tar.gostsum": gost(read(t, chunks...)), "platform.tar.sha256": sha2(read(t, chunks...)) + "\n"}
			},
			[]string{"platform.tar.gostsum: gost of platform.tar: same", "platform.tar.sha256: sha256 of platform.tar: same"},
			true,
		},
		"a different checksum": {
			func(t *testing.T, dir string, chunks []string) map[string]string {
				return map[string]string{"module-x.tar.gostsum": gost([]byte("another archive"))}
			},
			[]string{"module-x.tar.gostsum: gost of module-x.tar: different: DIR/module-x.tar has the checksum GOST(module-x.tar)"},
			false,
		},
		"reversed byte order": {
			func(t *testing.T, dir string, chunks []string) map[string]string {
				return map[string]string{"module-x.tar.gostsum": reversed(t, gost(read(t, dir+"/module-x.tar")))}
			},
			[]string{"module-x.tar.gostsum: gost of module-x.tar: different: DIR/module-x.tar has this checksum in reversed byte order: the file's checksum is GOST(module-x.tar)"},
			false,
		},
		"checksum files like those of sha256sum": {
			func(t *testing.T, dir string, chunks []string) map[string]string {
				layouttest.WriteFile(t, dir+"/deckhousereleases.yaml", "kind: List\n")
				all := "# a comment\n" +
					sha2(read(t, dir+"/module-x.tar")) + "  module-x.tar\n" +
					sha2(read(t, chunks[0])) + " *./platform.tar.0000.chunk\r\n" + // binary
					"SHA256 (platform.tar.0001.chunk) = " + strings.ToUpper(sha2(read(t, chunks[1]))) + "\n" + // --tag
					sha2(read(t, dir+"/deckhousereleases.yaml")) + "  deckhousereleases.yaml\n" +
					sha2(nil) + "  gone.tar\n" +
					sha2(nil) + "  ../outside.tar\n" +
					sha2(nil) + "  /etc/hostname"
				return map[string]string{"SHA256SUMS": all}
			},
			[]string{
				"SHA256SUMS: sha256 of deckhousereleases.yaml: same",
				"SHA256SUMS: sha256 of /etc/hostname: absent: /etc/hostname is missing",
				"SHA256SUMS: sha256 of gone.tar: absent: gone.tar is missing",
				"SHA256SUMS: sha256 of module-x.tar: same",
				"SHA256SUMS: sha256 of platform.tar.0000.chunk: same",
				"SHA256SUMS: sha256 of platform.tar.0001.chunk: same",
				"SHA256SUMS: sha256 of ../outside.tar: absent: ../outside.tar is missing",
			},
			true,
		},
		"a path on another machine": {
			func(t *testing.T, dir string, chunks []string) map[string]string {
				return map[string]string{"module-x.tar.sha256": sha2(read(t, dir+"/module-x.tar")) + "  /home/me/bundle/module-x.tar\n"}
			},
			[]string{"module-x.tar.sha256: sha256 of module-x.tar: same"},
			true,
		},
		"a path on another machine, which runs Windows": {
			func(t *testing.T, dir string, chunks []string) map[string]string {
				return map[string]string{"module-x.tar.sha256": `\` + sha2(read(t, dir+"/module-x.tar")) + ` *D:\\bundle\\module-x.tar` + "\n"}
			},
			[]string{"module-x.tar.sha256: sha256 of module-x.tar: same"},
			true,
		},
		"checksum files like those of openssl": {
			func(t *testing.T, dir string, chunks []string) map[string]string {
				return map[string]string{"module-x.tar.sha256": "SHA2-256(module-x.tar)= " + sha2(read(t, dir+"/module-x.tar")) + "\n", "SHA256SUMS": "SHA256(platform.tar.0000.chunk)= " + sha2(nil) + "\n"}
			},
			[]string{
				"SHA256SUMS: sha256 of platform.tar.0000.chunk: different: DIR/platform.tar.0000.chunk has the checksum SHA256(platform.tar.0000.chunk)",
				"module-x.tar.sha256: sha256 of module-x.tar: same",
			},
			false,
		},
		"a different checksum among several": {
			func(t *testing.T, dir string, chunks []string) map[string]string {
				return map[string]string{"sha256sums.txt": sha2(read(t, dir+"/module-x.tar")) + "  module-x.tar\n" + sha2(nil) + "  platform.tar.0002.chunk\n"}
			},
			[]string{
				"sha256sums.txt: sha256 of module-x.tar: same",
				"sha256sums.txt: sha256 of platform.tar.0002.chunk: different: DIR/platform.tar.0002.chunk has the checksum SHA256(platform.tar.0002.chunk)",
			},
			false,
		},
		"illegible": {
			func(t *testing.T, dir string, chunks []string) map[string]string {
				return map[string]string{"module-x.tar.gostsum": gost(nil)[:63], "SHA256SUMS": ""}
			},
			[]string{
				"SHA256SUMS: sha256 of : illegible: contains no sha256 checksum",
				"module-x.tar.gostsum: gost of module-x.tar: illegible: contains no gost checksum",
			},
			false,
		},
		"a missing chunk, a hidden file and a directory": {
			func(t *testing.T, dir string, chunks []string) map[string]string {
				if err := os.Mkdir(dir+"/layers.sha256", 0o755); err != nil {
					t.Fatal(err)
				}
				return map[string]string{"platform.tar.9999.chunk.gostsum": gost(nil), ".module-x.tar.gostsum": "nonsense"}
			},
			[]string{"platform.tar.9999.chunk.gostsum: gost of platform.tar.9999.chunk: absent: platform.tar.9999.chunk is missing"},
			true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, chunks := bundle(t)
			for file, text := range c.files(t, dir, chunks) {
				layouttest.WriteFile(t, filepath.Join(dir, file), text)
			}
			r := run(t, dir)
			want := slices.Clone(c.want)
			for i, line := range want {
				if _, of, ok := strings.Cut(line, "GOST("); ok {
					want[i] = strings.Replace(line, "GOST("+of, gost(read(t, filepath.Join(dir, strings.TrimSuffix(of, ")")))), 1)
				}
				if _, of, ok := strings.Cut(line, "SHA256("); ok {
					want[i] = strings.Replace(line, "SHA256("+of, sha2(read(t, filepath.Join(dir, strings.TrimSuffix(of, ")")))), 1)
				}
			}
			got := lines(r, dir)
			slices.Sort(want)
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" || r.Whole != c.whole {
				t.Errorf("complete: %v\n%s", r.Whole, diff)
			}
			if len(r.Causes) > 0 {
				t.Errorf("%+v", r.Causes)
			}
		})
	}
}

// If the source is an archive, only the checksums of this archive are compared.
func TestChecksumsBesideOneArchive(t *testing.T) {
	dir, chunks := bundle(t)
	layouttest.WriteFile(t, dir+"/module-x.tar.gostsum", gost([]byte("another archive")))
	layouttest.WriteFile(t, dir+"/SHA256SUMS", sha2(nil)+"  module-x.tar\n"+sha2(read(t, chunks[1]))+"  platform.tar.0001.chunk\n")
	r := run(t, chunks[1])
	if diff := cmp.Diff([]string{"SHA256SUMS: sha256 of platform.tar.0001.chunk: same"}, lines(r, dir)); diff != "" || !r.Whole {
		t.Errorf("complete: %v\n%s", r.Whole, diff)
	}
	r = run(t, filepath.Join(dir, "module-x.tar"))
	if len(r.Checksums) != 2 || r.Whole {
		t.Errorf("Whole = %v, checksums %v; want Whole = false and 2 checksums", r.Whole, lines(r, dir))
	}
	want := fmt.Sprintf("checksum different: DIR/SHA256SUMS: DIR/module-x.tar has the checksum %s\n"+
		"checksum different: DIR/module-x.tar.gostsum: DIR/module-x.tar has the checksum %s\nincomplete or damaged: 0 of 2 tags of 2 repositories\n",
		sha2(read(t, dir+"/module-x.tar")), gost(read(t, dir+"/module-x.tar")))
	if diff := cmp.Diff(want, text(t, r, dir)); diff != "" {
		t.Error(diff)
	}
}

// A checksum file that cannot be read may belong to the archive that is the source, unless its name tells that
// it belongs to another archive.
func TestUnreadableChecksumsBesideOneArchive(t *testing.T) {
	tooLong := strings.Repeat("#", 4<<20+1)
	for file, whole := range map[string]bool{"module-x.tar.sha256": false, "module-x.tar.gostsum": false, "SHA256SUMS": false, "platform.tar.sha256": true} {
		dir, _ := bundle(t)
		layouttest.WriteFile(t, filepath.Join(dir, file), tooLong)
		if r := run(t, filepath.Join(dir, "module-x.tar")); r.Whole != whole {
			t.Errorf("with an unreadable %s: Whole = %v, checksums %v; want Whole = %v", file, r.Whole, lines(r, dir), whole)
		}
		if r := run(t, dir); r.Whole {
			t.Errorf("with an unreadable %s in a directory: Whole = true, want false", file)
		}
	}
}
