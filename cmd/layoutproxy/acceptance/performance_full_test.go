//go:build full

package acceptance

import (
	"archive/tar"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// target is a running server whose performance is measured.
type target struct {
	name    string
	address string
	pids    []int
}

// TestPerformance compares layoutproxy with floor and, if it is installed, with nginx. It also
// compares pulls with layoutproxy and with crane. With LAYOUTPROXY_PERFORMANCE=1, it takes five
// minutes and prints the tables of docs/performance.md. Otherwise, it only checks that all servers
// give the same responses.
func TestPerformance(t *testing.T) {
	rounds, duration := 1, 50*time.Millisecond
	if os.Getenv("LAYOUTPROXY_PERFORMANCE") != "" {
		rounds, duration = 9, time.Second
	}
	b := newPerformanceBundle(t)
	servers := b.servers(t)
	if rounds > 1 {
		time.Sleep(8 * time.Second) // long enough for the server's background checks to end
		printMemory(t, servers)
	}
	b.checkAnswers(t, servers)
	for _, w := range b.works() {
		w.compare(t, servers, rounds, duration)
	}
	comparePulls(t, b.dirs["tree"], (rounds+1)/2)
}

// performanceBundle is a bundle in three forms: a tree, an archive and chunks.
type performanceBundle struct {
	dirs map[string]string // directory of each form: tree, archive, chunks
	tags []string
	blob ocispec.Descriptor
}

const (
	smallTags  = 405
	largeBlob  = 120 << 20
	rangeBytes = 1 << 20
)

func newPerformanceBundle(t *testing.T) *performanceBundle {
	t.Helper()
	b := &performanceBundle{dirs: map[string]string{}}
	tree := layouttest.New(t, t.TempDir())
	small, large := tree.Layout("small"), tree.Layout("large")
	for i := range smallTags {
		b.tags = append(b.tags, fmt.Sprintf("v1.%d.%d", i/20, i%20))
		small.Tag(small.Image(layouttest.Image{Name: fmt.Sprint("small", i), LayerSizes: []int64{30 << 10}}), b.tags[i])
	}
	d := large.Image(layouttest.Image{Name: "large", LayerSizes: []int64{largeBlob}})
	large.Tag(d, "v1")
	small.Write()
	large.Write()
	var m ocispec.Manifest
	readJSON(t, large.BlobPath(d.Digest), &m)
	b.blob = m.Layers[0]
	b.dirs["tree"] = tree.Dir()
	for _, form := range []string{"archive", "chunks"} {
		b.dirs[form] = t.TempDir()
		file := filepath.Join(b.dirs[form], "bundle.tar")
		tree.Archive(file, layouttest.Archive{})
		if form == "chunks" {
			layouttest.Split(t, file, 48<<20)
		}
	}
	return b
}

func readJSON(t *testing.T, file string, v any) {
	t.Helper()
	must(t, json.Unmarshal(layouttest.ReadFile(t, file), v))
}

func (b *performanceBundle) servers(t *testing.T) (all []target) {
	t.Helper()
	all = append(all, startFloor(t, "floor, tree", b.answers(t, "")), startFloor(t, "floor, archive", b.answers(t, filepath.Join(b.dirs["archive"], "bundle.tar"))))
	if _, err := exec.LookPath("nginx"); err == nil {
		all = append(all, startNginx(t, b.answers(t, "")))
	} else {
		t.Log("nginx is not installed, so it is not measured")
	}
	for _, p := range comparedBuilds() {
		for _, form := range []string{"tree", "archive", "chunks"} {
			replaced := []string{"sh", "-c", `build=$0; shift; exec "$build" "$@"`, p.file} // run p.file, not the program that TestMain built
			s := serveUnder(t, replaced, b.dirs[form], "--root-repository", "", "--cache-dir", t.TempDir())
			all = append(all, target{p.name + ", " + form, s.registry, []int{s.pid}})
		}
	}
	return all
}

// programBuild is a build of layoutproxy to compare: a name and the path of the program.
type programBuild struct{ name, file string }

// comparedBuilds returns the current build and, if set, the build at the path LAYOUTPROXY_BEFORE.
func comparedBuilds() []programBuild {
	all := []programBuild{{"layoutproxy", program}}
	if before := os.Getenv("LAYOUTPROXY_BEFORE"); before != "" {
		all = append(all, programBuild{"before", before})
	}
	return all
}

// answer has the same fields as Answer in floor.
type answer struct {
	File      string
	Off, Size int64
	Type      string
	Digest    string
	InMemory  bool
}

// answers returns the answers of floor and nginx, by path. The blob is in archive, or in the tree if archive is "".
func (b *performanceBundle) answers(t *testing.T, archive string) map[string]answer {
	t.Helper()
	dir := b.dirs["tree"]
	blobFile := func(layout, encoded string) string { return filepath.Join(dir, layout, "blobs", "sha256", encoded) }
	all := map[string]answer{}
	var index ocispec.Index
	readJSON(t, filepath.Join(dir, "small", "index.json"), &index)
	for i, d := range index.Manifests {
		all["/v2/small/manifests/"+b.tags[i]] = answer{File: blobFile("small", d.Digest.Encoded()), Size: d.Size, Type: d.MediaType, Digest: d.Digest.String(), InMemory: true}
	}
	tags := slices.Sorted(slices.Values(b.tags))
	list, err := json.Marshal(map[string]any{"name": "small", "tags": tags})
	file := filepath.Join(t.TempDir(), "list")
	if err = cmp.Or(err, os.WriteFile(file, list, 0o600)); err != nil {
		t.Fatal(err)
	}
	all["/v2/small/tags/list"] = answer{File: file, Size: int64(len(list)), Type: "application/json", InMemory: true}
	blob := answer{File: blobFile("large", b.blob.Digest.Encoded()), Size: b.blob.Size, Type: "application/octet-stream", Digest: b.blob.Digest.String()}
	if archive != "" {
		blob.File, blob.Off = archive, offsetIn(t, archive, b.blob.Digest.Encoded())
	}
	all["/v2/large/blobs/"+b.blob.Digest.String()] = blob
	return all
}

// offsetIn returns the offset at which the content of an entry begins in an archive.
func offsetIn(t *testing.T, archive, base string) int64 {
	t.Helper()
	f, err := os.Open(archive)
	must(t, err)
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("%s in %s: %v", base, archive, err)
		}
		if path.Base(h.Name) == base {
			off, err := f.Seek(0, io.SeekCurrent)
			must(t, err)
			return off
		}
	}
}

// checkAnswers checks that all servers return the same content for some of the measured requests.
func (b *performanceBundle) checkAnswers(t *testing.T, servers []target) {
	t.Helper()
	blob := "/v2/large/blobs/" + b.blob.Digest.String()
	for _, q := range []struct{ path, ranges string }{{"/v2/small/manifests/" + b.tags[0], ""}, {"/v2/small/manifests/" + b.tags[smallTags-1], ""}, {blob, "bytes=50000000-51048575"}} {
		want := ""
		for i, s := range servers {
			resp, got := requestOnce(t, http.MethodGet, "http://"+s.address+q.path, "Range", q.ranges)
			if i == 0 {
				want = got
			}
			if resp.StatusCode >= 300 || got != want {
				t.Fatalf("%s, %s: got status %s and %d bytes, want the same %d bytes as from floor", s.name, q.path, resp.Status, len(got), len(want))
			}
		}
	}
}

func startFloor(t *testing.T, name string, answers map[string]answer) target {
	t.Helper()
	dir := t.TempDir()
	binary, file := filepath.Join(dir, "floor"), filepath.Join(dir, "answers.json")
	data, err := json.Marshal(answers)
	if err = cmp.Or(err, os.WriteFile(file, data, 0o600)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", binary, "./floor").CombinedOutput(); err != nil {
		t.Fatalf("go build ./floor: %v\n%s", err, out)
	}
	return start(t, name, func(address string) *exec.Cmd { return exec.Command(binary, address, file) })
}

// startNginx runs nginx, which serves each answer as a file at its path.
func startNginx(t *testing.T, answers map[string]answer) target {
	t.Helper()
	dir := t.TempDir()
	for name, a := range answers {
		file := filepath.Join(dir, "root", filepath.FromSlash(name))
		data, err := os.ReadFile(a.File)
		if err = cmp.Or(err, os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return start(t, "nginx, tree", func(address string) *exec.Cmd {
		config := fmt.Sprintf(`daemon off; master_process off; worker_processes 1; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 256; }
http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; default_type application/vnd.oci.image.manifest.v1+json;
  client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
  open_file_cache max=2000; server { listen %[2]s; root %[1]s/root; } }`, dir, address)
		must(t, os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(config), 0o600))
		return exec.Command("nginx", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))
	})
}

// start starts a server on a free port, and waits until it listens.
func start(t *testing.T, name string, command func(address string) *exec.Cmd) target {
	t.Helper()
	address := freePorts(t, 1)[0]
	cmd := command(address)
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); t.Log(name, <-ended) })
	for {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return target{name, address, []int{cmd.Process.Pid}}
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s: %v", name, cmp.Or(err, errors.New("it ended")))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// work is a load to measure, and the unit in which a table shows its cost.
type work struct {
	name string
	load load
	unit string
	cost func(measured) float64 // returns the processor time of a measurement, in unit
}

func (b *performanceBundle) works() []work {
	perRequest := func(m measured) float64 { return float64(m.cpu.Nanoseconds()) / 1e3 / float64(m.requests) }
	perGB := func(m measured) float64 { return m.cpu.Seconds() / (float64(m.bytes) / 1e9) }
	var manifests []string
	for _, tag := range b.tags {
		manifests = append(manifests, "/v2/small/manifests/"+tag)
	}
	blob := []string{"/v2/large/blobs/" + b.blob.Digest.String()}
	return []work{
		{"manifests by tag, 16 connections", load{paths: manifests, connections: 16}, "µs/request", perRequest},
		{fmt.Sprintf("list of %d tags, 16 connections", smallTags), load{paths: []string{"/v2/small/tags/list"}, connections: 16}, "µs/request", perRequest},
		{"blobs, 4 connections", load{paths: blob, connections: 4}, "s/GB", perGB},
		{"ranges of 1 MiB, 4 connections", load{paths: blob, connections: 4, part: rangeBytes, size: largeBlob}, "µs/request", perRequest},
	}
}

// compare sends the same load to all servers in turn, and prints the medians. It also compares each
// with floor in the same round. For archives and chunks, floor serves an archive.
func (w work) compare(t *testing.T, servers []target, rounds int, duration time.Duration) {
	t.Helper()
	costs, rates := make([][]float64, len(servers)), make([][]float64, len(servers))
	for range rounds {
		for i, s := range servers {
			m := w.load.run(t, s, duration)
			costs[i] = append(costs[i], w.cost(m))
			rates[i] = append(rates[i], float64(m.requests)/m.wall.Seconds())
		}
	}
	fmt.Printf("\n%s\n%-22s %12s %8s %10s %8s\n", w.name, "", "CPU "+w.unit, "x floor", "requests/s", "x floor")
	for i, s := range servers {
		floor := 0
		if strings.HasSuffix(s.name, "archive") || strings.HasSuffix(s.name, "chunks") {
			floor = 1
		}
		fmt.Printf("%-22s %12.3g %8.2f %10.0f %8.2f\n", s.name, median(costs[i]), median(ratios(costs[i], costs[floor])), median(rates[i]), median(ratios(rates[i], rates[floor])))
	}
}

func ratios(a, b []float64) (all []float64) {
	for i := range a {
		all = append(all, a[i]/b[i])
	}
	return all
}

func median(all []float64) float64 { return slices.Sorted(slices.Values(all))[len(all)/2] }

// printMemory prints how much memory each server uses, in MB.
func printMemory(t *testing.T, servers []target) {
	t.Helper()
	fmt.Printf("\nmemory after the start, MB\n%-22s %8s %10s\n", "", "resident", "anonymous")
	for _, s := range servers {
		status := layouttest.ReadFile(t, fmt.Sprintf("/proc/%d/status", s.pids[0]))
		kB := map[string]float64{}
		for line := range strings.Lines(string(status)) {
			var n float64
			name, value, _ := strings.Cut(line, ":")
			if _, err := fmt.Sscanf(value, "%f kB", &n); err == nil {
				kB[name] = n
			}
		}
		fmt.Printf("%-22s %8.1f %10.1f\n", s.name, kB["VmRSS"]/1e3, kB["RssAnon"]/1e3)
	}
}
