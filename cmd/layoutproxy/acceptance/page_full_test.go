//go:build full

package acceptance

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// packedSample returns a directory with the sample bundle, packed into archives.
func packedSample(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bundle")
	must(t, os.Mkdir(dir, 0o755))
	layouttest.New(t, bundleDir).Bundle(dir)
	return dir
}

// The overview shows whether the bundle is intact, the ready versions, the number of repositories
// and tags, and the hosts.toml for nodes. It works with and without JavaScript. It loads at most 60
// kB, and nothing from another host.
func TestFirstVisitOfThePage(t *testing.T) {
	s := serve(t, packedSample(t))
	b := newBrowser(t, "http://"+s.admin)
	b.width(1280)
	b.open("/")
	b.wait("the check", `document.querySelector("[data-live=right]").innerText.includes("All right")`)
	b.mu.Lock()
	loaded := b.bytes
	b.mu.Unlock()
	if loaded == 0 || loaded > 60_000 {
		t.Errorf("the first visit loads %.0f bytes, want 1 to 60,000", loaded)
	}
	b.wait("the verdicts", `document.querySelector("[data-live=right]").innerText.includes("v1.70.1")`)
	has := func(when string) {
		t.Helper()
		main := b.text("main")
		for _, want := range []string{"15 repositories, 45 tags below deckhouse/ee", "deckhouse/ee/modules", "registry.deckhouse.io", "[host.\"http://" + s.registry, "No imports or pushes"} {
			if !strings.Contains(main, want) {
				t.Errorf("%s: the page does not contain %q:\n%s", when, want, main)
			}
		}
	}
	has("with JavaScript")
	for _, theme := range []string{"light", "dark"} {
		b.theme(theme)
		b.screenshot("overview-" + theme)
		b.checkAccessibility("overview, " + theme)
	}
	b.theme("light")
	b.publish("overview", 1280, 800)
	b.open("/image/deckhouse/ee/install:v1.70.1")
	b.publish("image", 1280, 800)
	b.scripts(false)
	b.open("/")
	b.scripts(true) // for the function has, which evaluates JavaScript
	has("without JavaScript")
	t.Logf("the first visit loads %.0f bytes", loaded)
}

// All kinds of pages meet WCAG in both themes, and fit a screen that is 360 pixels wide.
func TestPageAccessibility(t *testing.T) {
	dir := packedSample(t)
	breakBundle(t, filepath.Join(dir, "platform.tar"))
	s := serve(t, dir)
	b := newBrowser(t, "http://"+s.admin)
	for name, path := range map[string]string{
		"overview": "/", "problems": "/problems", "repositories": "/repositories", "search": "/repositories?q=v1", "repository": "/repository/deckhouse/ee",
		"image": "/image/deckhouse/ee/install:v1.70.1", "missing": "/nothing",
	} {
		for _, theme := range []string{"light", "dark"} {
			for _, width := range []int64{1280, 360} {
				b.theme(theme)
				b.width(width)
				b.open(path)
				what := fmt.Sprintf("%s, %s, %d pixels", name, theme, width)
				if wide := ask[int64](b, "document.documentElement.scrollWidth"); wide > width {
					t.Errorf("%s: the page is %d pixels wide, want at most %d", what, wide, width)
				}
				b.checkAccessibility(what)
				b.screenshot(fmt.Sprintf("%s-%s-%d", name, theme, width))
			}
		}
	}
}

// breakBundle renames the entry of the largest layer in an archive, so that the layer is missing.
func breakBundle(t *testing.T, archive string) {
	t.Helper()
	largest := layouttest.Place{}
	for _, p := range layouttest.Places(t, archive) {
		if strings.Contains(p.Name, "/sha256/") && p.Size > largest.Size {
			largest = p
		}
	}
	data := layouttest.ReadFile(t, archive)
	header := data[largest.Header:][:512]
	copy(header[20:], "lost")
	layouttest.Checksum(header)
	layouttest.WriteFile(t, archive, data)
}

// For every repository of the sample, the page shows the same tags as tags/list.
func TestPageShowsTagsOfAPI(t *testing.T) {
	s := serve(t, packedSample(t))
	b := newBrowser(t, "http://"+s.admin)
	images := sample(t)
	if len(repositories(images)) < 15 {
		t.Fatalf("the sample has %d repositories, want at least 15", len(repositories(images)))
	}
	for _, name := range repositories(images) {
		var list struct{ Tags []string }
		must(t, json.Unmarshal([]byte(body(t, "http://"+s.registry+"/v2/"+name+"/tags/list")), &list))
		b.open("/repository/" + name)
		if got := ask[[]string](b, `[...document.querySelectorAll("[data-tag]")].map((a) => a.innerText)`); !slices.Equal(got, list.Tags) {
			t.Errorf("%s: the page shows the tags %q, want the tags of the API, %q", name, got, list.Tags)
		}
	}
}

// With only a keyboard, a user can skip to the content, search while typing, and open a result.
func TestPageWorksWithKeyboardOnly(t *testing.T) {
	s := serve(t, packedSample(t))
	b := newBrowser(t, "http://"+s.admin)
	b.open("/")
	b.key("\t")
	if got := ask[string](b, "document.activeElement.innerText"); got != "Skip to content" {
		t.Errorf("the first tab stop is %q, want the link to the content", got)
	}
	b.screenshot("keyboard-skip")
	b.key("\r")
	b.wait("the content", `document.activeElement.id === "main"`)
	b.key("/")
	b.wait("the search", `document.activeElement.id === "q"`)
	b.key("install v1.70.1\r")
	b.wait("results", `document.readyState === "complete" && location.pathname === "/repositories" && document.querySelector("#results table") !== null`)
	b.key("/") // the key works only after the script of the page has run
	b.wait("the search again", `document.activeElement.id === "q"`)
	b.key("csi-ceph/release") // this replaces the text, because it is selected
	b.wait("results while typing", `location.search.includes("csi-ceph") && document.querySelector("#results a[href*='csi-ceph/release']") !== null`)
	b.screenshot("keyboard-search")
	for range 40 {
		b.key("\t")
		if ask[bool](b, `document.activeElement.matches("#results table a")`) {
			break
		}
	}
	if outline := ask[string](b, `getComputedStyle(document.activeElement).outlineStyle`); outline != "solid" {
		t.Errorf("the focused link has the outline style %s, want solid, so that users see the focus", outline)
	}
	b.key("\r")
	b.wait("the repository", `location.pathname.startsWith("/repository/") && location.pathname.includes("csi-ceph/release")`)
	// The Tab key reaches every control of a page.
	b.open("/image/deckhouse/ee/install:v1.70.1")
	stops := ask[int](b, `document.querySelectorAll("a[href], button, input, summary, [tabindex='0']").length`)
	seen := map[string]bool{}
	for range stops + 5 {
		b.key("\t")
		seen[ask[string](b, `document.activeElement.outerHTML.slice(0, 200)`)] = true
	}
	if len(seen) < stops-5 { // several links may have the same HTML
		t.Errorf("the Tab key reaches %d of %d controls, want at least %d", len(seen), stops, stops-5)
	}
}

// Without a reload, an open page shows the progress of an import, its state "published", and then
// the new repository. A second import fails, and the page shows why.
func TestPageFollowsImports(t *testing.T) {
	drop, store := t.TempDir(), t.TempDir()
	s := serve(t, packedSample(t), "--store", store, "--drop-dir", drop, "--settle", "1s")
	b := newBrowser(t, "http://"+s.admin)
	b.width(1280)
	b.open("/")
	b.wait("the check", `document.querySelector(".state").innerText === "All right"`)
	ask[bool](b, `window.states = new Set(); new MutationObserver(() => {
		for (const badge of document.querySelectorAll("[data-live=incoming] .badge")) states.add(badge.innerText);
		if (document.querySelector("[data-live=incoming] progress")) states.add("progress");
	}).observe(document.querySelector("[data-live=incoming]"), {childList: true}); window.kept = true`)
	b.mu.Lock()
	b.events = nil
	b.mu.Unlock()
	began := time.Now()
	dropLarge(t, drop)
	b.wait("progress", `states.has("progress")`)
	b.screenshot("import-running")
	b.checkAccessibility("a running import")
	b.wait("published", `states.has("published")`)
	b.wait("the new repository", `document.querySelector("[data-live=there]").innerText.includes("16 repositories")`)
	b.screenshot("import-published")

	damaged := filepath.Join(drop, "module-damaged.tar")
	damagedArchive(t, damaged)
	b.wait("failed", `states.has("failed") && document.querySelector(".state").innerText === "1 failed transfer"`)
	if text := b.text("[data-live=incoming]"); !strings.Contains(text, "module-damaged.tar") || !strings.Contains(text, "checksum mismatch") {
		t.Errorf("got the text %q, want module-damaged.tar and \"checksum mismatch\"", text)
	}
	b.screenshot("import-failed")
	b.theme("dark")
	b.screenshot("import-failed-dark")
	b.checkAccessibility("a failed import")
	if !ask[bool](b, "window.kept === true") {
		t.Error("the page reloaded during the imports, want no reload")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if most := int(time.Since(began)/time.Second) + 1; len(b.events) > most {
		t.Errorf("the page got %d events in %s, want at most one per second", len(b.events), time.Since(began))
	}
}

// dropLarge writes a bundle into the drop directory. Its import takes a while, because a layer has
// 1.5 GiB of zeros, in a sparse file.
func dropLarge(t *testing.T, drop string) {
	t.Helper()
	const size = 3 << 29
	zeros := digest.SHA256.Digester()
	block := make([]byte, 1<<20)
	for range size >> 20 {
		zeros.Hash().Write(block)
	}
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("modules/large")
	config := l.Blob(ocispec.MediaTypeImageConfig, []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`))
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config,
		Layers: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayer, Digest: zeros.Digest(), Size: size}}}
	l.Tag(l.Blob(ocispec.MediaTypeImageManifest, marshal(t, manifest)), "v1")
	l.Write()
	var entries []layouttest.Entry
	for name, content := range layouttest.ReadFiles(t, tree.Dir()) {
		entries = append(entries, layouttest.File(name, []byte(content)))
	}
	entries = append(entries, layouttest.Entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: "modules/large/blobs/sha256/" + zeros.Digest().Encoded(), Mode: 0o644, Size: size}})
	name := filepath.Join(drop, "module-large.tar")
	layouttest.Tar(t, name+".tmp", entries...)
	must(t, os.Rename(name+".tmp", name))
}

// damagedArchive writes an archive in which a few bytes of a layer are wrong.
func damagedArchive(t *testing.T, name string) {
	t.Helper()
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("modules/damaged")
	l.Tag(l.Image(layouttest.Image{Name: "damaged", LayerSizes: []int64{1 << 20}}), "v1")
	l.Write()
	tree.Archive(name+".tmp", layouttest.Archive{})
	data := layouttest.ReadFile(t, name+".tmp")
	for _, p := range layouttest.Places(t, name+".tmp") {
		if p.Size == 1<<20 {
			copy(data[p.Body+1000:], "damaged")
		}
	}
	layouttest.WriteFile(t, name+".tmp", data)
	must(t, os.Rename(name+".tmp", name))
}

// The page, its style sheet and its events also work if the server requires a login.
func TestPageBehindALogin(t *testing.T) {
	s := serve(t, packedSample(t), "--admin-htpasswd", htpasswdFile(t))
	b := newBrowser(t, "http://frodo:baggins@"+s.admin)
	b.open("/")
	b.wait("the style", `document.styleSheets.length === 1 && document.styleSheets[0].cssRules.length > 20`)
	b.wait("the verdicts", `document.querySelector("[data-live=right]").innerText.includes("v1.70.1")`)
}
