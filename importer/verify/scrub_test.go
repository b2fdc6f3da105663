package verify_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/verify"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// scrubbing runs a scrub of a tree until the test ends. It returns the scrub, and a channel with the digests
// of damaged blobs.
func scrubbing(t *testing.T, tree *layoutstore.Tree) (*verify.Scrub, <-chan digest.Digest) {
	t.Helper()
	wrong := make(chan digest.Digest, 100)
	s, err := verify.NewScrub(verify.ScrubOptions{Rate: 1 << 30, Snapshot: tree.Snapshot,
		Wrong:  func(p layoutstore.Problem) { wrong <- p.Digest },
		Failed: func(file, _ string, _ digest.Digest, err error) { t.Errorf("%s: %v", file, err) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s, wrong
}

func within(t *testing.T, wrong <-chan digest.Digest) digest.Digest {
	t.Helper()
	select {
	case d := <-wrong:
		return d
	case <-time.After(time.Minute):
		t.Fatal("the scrub found no damaged blob within a minute, want one")
		return ""
	}
}

// pull reads a blob like a server that answers a client.
func pull(tree *layoutstore.Tree, name string, d digest.Digest) ([]byte, error) {
	repo, err := tree.Snapshot().Repository(name)
	if err != nil {
		return nil, err
	}
	blob, err := repo.Blob(context.Background(), d)
	if err != nil {
		return nil, err
	}
	content, err := blob.Open(context.Background())
	if err != nil {
		return nil, err
	}
	defer content.Close()
	return io.ReadAll(content)
}

// TestScrubFindsAFlippedBit flips a bit of a blob while clients pull it. After the scrub has found the bit,
// no new pull succeeds, and all snapshots list the problem until the file is repaired.
func TestScrubFindsAFlippedBit(t *testing.T) {
	dir := t.TempDir()
	s := newSample(t, dir)
	tree := open(t, dir)
	_, wrong := scrubbing(t, tree)
	d := s.digests["one.layer0"]
	file := s.install.BlobPath(d)
	sound, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var found sync.RWMutex // held for reading during a pull; locked for writing once the scrub has found the bit
	refused := false
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				found.RLock()
				body, err := pull(tree, "deckhouse/ee/install", d)
				if refused && err == nil && len(body) == len(sound) && !bytes.Equal(body, sound) {
					t.Error("after the scrub found the damaged blob, a client received it, want an error")
				}
				found.RUnlock()
			}
		})
	}
	reason := flip(t, file, sound)
	if got := within(t, wrong); got != d {
		t.Errorf("the scrub found the damaged blob %s, want %s", got, d)
	}
	found.Lock()
	refused = true
	found.Unlock()
	for range 3 {
		var corrupt *layoutstore.ProblemError
		if _, err := pull(tree, "deckhouse/ee/install", d); !errors.As(err, &corrupt) || corrupt.Problem.Reason != reason {
			t.Errorf("pull of the damaged blob: got error %v, want one that refuses it", err)
		}
		if n := problems(tree, d); n != 1 {
			t.Errorf("the snapshot lists %d problems of the damaged blob, want 1; all problems: %v", n, problemsOf(tree.Snapshot()))
		}
		if _, err := tree.Refresh(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := tree.Snapshot().Check(context.Background(), 1); err != nil {
			t.Fatal(err)
		}
	}
	// The copy in the other repository is intact, and still served.
	if body, err := pull(tree, "deckhouse/ee/modules/x", d); err != nil || !bytes.Equal(body, sound) {
		t.Errorf("pull of the intact copy in the other repository: got error %v or wrong content, want the content", err)
	}
	layouttest.WriteFile(t, file, string(sound))
	if body, err := pull(tree, "deckhouse/ee/install", d); err != nil || !bytes.Equal(body, sound) {
		t.Errorf("pull after a repair: got error %v or wrong content, want the content", err)
	}
	if _, err := tree.Refresh(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := problems(tree, d); n != 0 {
		t.Errorf("problems after a repair = %v, want none about the blob", problemsOf(tree.Snapshot()))
	}
	close(stop)
	clients.Wait()
}

// flip changes a byte of a file in place, as a failing disk does. It returns the reason that a report then
// states.
func flip(t *testing.T, file string, sound []byte) (reason string) {
	t.Helper()
	body := bytes.Clone(sound)
	body[3] ^= 0x10
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(body[3:4], 3); err != nil {
		t.Fatal(err)
	}
	return "checksum mismatch: content is " + digest.FromBytes(body).String()
}

func problems(tree *layoutstore.Tree, d digest.Digest) (n int) {
	for _, p := range problemsOf(tree.Snapshot()) {
		if p.Digest == d && p.Kind == layoutstore.Damaged {
			n++
		}
	}
	return n
}

// A scrub also finds a flipped bit in an archive, even in a blob that no manifest needs.
func TestScrubOfAnArchive(t *testing.T) {
	s := newSample(t, t.TempDir())
	idle := s.install.Blob("", []byte("no manifest needs this")).Digest
	spoil(t, s.install.BlobPath(idle), "flipped")
	packed := t.TempDir()
	file := filepath.Join(packed, "all.tar")
	s.Archive(file, layouttest.Archive{})
	var own []int64 // offsets at which the blob's entry begins and ends
	for _, p := range layouttest.Places(t, file) {
		if strings.HasSuffix(p.Name, idle.Encoded()) {
			own = []int64{p.Header, p.End}
		}
	}
	for _, places := range [][]int64{nil, own} {
		if places != nil { // places is nil while the archive is still one file
			layouttest.CutAt(t, file, places...)
		}
		tree := open(t, packed)
		scrub, wrong := scrubbing(t, tree)
		if got := within(t, wrong); got != idle {
			t.Errorf("the scrub found the damaged blob %s, want %s", got, idle)
		}
		if _, err := pull(tree, "deckhouse/ee/install", idle); !errors.Is(err, layoutstore.ErrBlobUnknown) {
			t.Errorf("pull of the damaged blob: got error %v, want one that refuses it", err)
		}
		if n := problems(tree, idle); n != 1 {
			t.Errorf("%v", problemsOf(tree.Snapshot()))
		}
		for scrub.Stats().Passes == 0 {
			time.Sleep(time.Millisecond)
		}
		if got := scrub.Stats(); got.Wrong != 1 || got.Failed != 0 || got.Files < 21 || got.Bytes < got.PassTotal || got.PassTotal == 0 {
			t.Errorf("%+v", got)
		}
	}
}

func TestScrubKeepsItsRate(t *testing.T) {
	dir := t.TempDir()
	tree := layouttest.New(t, dir)
	l := tree.Layout("a")
	l.Tag(l.Image(layouttest.Image{LayerSizes: []int64{1 << 20}}), "v1")
	l.Write()
	// At a thousand bytes per second, a scrub reads only the burst at once.
	s, err := verify.NewScrub(verify.ScrubOptions{Rate: 1000, Snapshot: open(t, dir).Snapshot})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	for s.Stats().Bytes == 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond)
	if read := s.Stats().Bytes; read > 256<<10 {
		t.Errorf("the scrub read %d bytes at once, want at most 256 KiB", read)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := verify.NewScrub(verify.ScrubOptions{}); err == nil {
		t.Error("NewScrub with a rate of 0 returned no error, want one")
	}
}

// onePass scrubs a tree from a position to the end of the pass. It returns the position of each copy that was
// read, and the stats at the end.
func onePass(t *testing.T, tree *layoutstore.Tree, from verify.Position) (reached []verify.Position, stats verify.ScrubStats) {
	t.Helper()
	now := time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := verify.NewScrub(verify.ScrubOptions{Rate: 1 << 30, Snapshot: tree.Snapshot, From: from,
		Now: func() time.Time { now = now.Add(time.Minute); return now },
		Reached: func(at verify.Position, _ time.Time) {
			if at == (verify.Position{}) { // the pass is complete
				cancel()
			}
			reached = append(reached, at)
		}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
	return reached[:len(reached)-2], s.Stats() // omit the end of the pass, which is reported twice
}

// A scrub resumes after a position. If the layout of the position does not exist anymore, the scrub reads all
// copies of the repository, so that it misses none.
func TestScrubResumes(t *testing.T) {
	dir := t.TempDir()
	s := newSample(t, dir)
	packed := t.TempDir()
	s.Archive(filepath.Join(packed, "all.tar"), layouttest.Archive{})
	tree := open(t, dir, packed)
	all, stats := onePass(t, tree, verify.Position{})
	if len(all) < 20 || stats.Files != int64(len(all)) || stats.Passes != 1 {
		t.Fatalf("the first pass has %d positions, want at least 20; stats %+v, want 1 pass and as many files as positions", len(all), stats)
	}
	for i, at := range all {
		rest, stats := onePass(t, tree, at)
		if !slices.Equal(rest, all[i+1:]) {
			t.Errorf("scrub from %+v read %v, want %v", at, rest, all[i+1:])
		}
		if stats.PassBytes != stats.PassTotal || stats.Files != int64(len(all)-i-1) {
			t.Errorf("scrub from %+v: stats %+v, want PassBytes equal to PassTotal, and %d files", at, stats, len(all)-i-1)
		}
	}
	gone := all[len(all)/2]
	gone.Path = "/gone"
	first := slices.IndexFunc(all, func(at verify.Position) bool { return at.Repository == gone.Repository })
	if rest, _ := onePass(t, tree, gone); !slices.Equal(rest, all[first:]) {
		t.Errorf("scrub from a missing layout read %v, want %v", rest, all[first:])
	}
	for repository, want := range map[string]int{"": len(all), "~": 0} {
		if rest, _ := onePass(t, tree, verify.Position{Repository: repository, Digest: "sha256:x"}); len(rest) != want {
			t.Errorf("scrub from the missing repository %q read %d copies, want %d", repository, len(rest), want)
		}
	}
}

// A scrub reports its position at the end, even if too little time has passed for a report in between.
func TestScrubReportsItsPosition(t *testing.T) {
	dir := t.TempDir()
	newSample(t, dir)
	tree := open(t, dir)
	now := time.Unix(0, 0)
	ctx, cancel := context.WithCancel(context.Background())
	var reached []verify.Position
	s, err := verify.NewScrub(verify.ScrubOptions{Rate: 1 << 30, Snapshot: tree.Snapshot, Now: func() time.Time { return now },
		Reached: func(at verify.Position, _ time.Time) { reached = append(reached, at) }})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	for s.Stats().Passes == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(reached) != 1 {
		t.Errorf("reported positions = %v, want only the one at the end", reached)
	}
}

// problemsOf returns the problems of a snapshot. If they cannot be read, it returns one problem with the
// error.
func problemsOf(s *layoutstore.Snapshot) []layoutstore.Problem {
	all, err := s.Problems(context.Background())
	if err != nil {
		return []layoutstore.Problem{{Reason: err.Error()}}
	}
	return all
}
