package reload_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/layoutproxy/layoutproxy/registry/reload"
)

// watched is a directory with two files whose texts are read together, and a clock.
type watched struct {
	*testing.T
	dir    string
	now    time.Time
	events []string
	value  *reload.Value[string]
}

var errBad = errors.New("bad")

func watch(t *testing.T) *watched {
	t.Helper()
	w := &watched{T: t, dir: t.TempDir(), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	w.write("a", "1")
	w.write("b", "1")
	w.pass(time.Hour)
	var err error
	if w.value, err = reload.New(w.options()); err != nil {
		t.Fatal(err)
	}
	w.want("11")
	return w
}

func (w *watched) options() reload.Options[string] {
	return reload.Options[string]{
		Files: []string{w.file("a"), w.file("b")}, Read: w.read, Now: func() time.Time { return w.now },
		Changed: func() { w.events = append(w.events, "changed") },
		Failed:  func(err error) { w.events = append(w.events, err.Error()) },
	}
}

func (w *watched) file(name string) string { return filepath.Join(w.dir, name) }

func (w *watched) read() (string, error) {
	a, errA := os.ReadFile(w.file("a"))
	b, errB := os.ReadFile(w.file("b"))
	if err := errors.Join(errA, errB); err != nil {
		return "", errBad
	}
	if string(a) != string(b) {
		return "", errBad
	}
	return string(a) + string(b), nil
}

func (w *watched) check(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// write writes a file in place at the test's time.
func (w *watched) write(name, text string) {
	w.Helper()
	w.check(os.WriteFile(w.file(name), []byte(text), 0o600))
	w.check(os.Chtimes(w.file(name), w.now, w.now))
}

func (w *watched) pass(d time.Duration) { w.now = w.now.Add(d) }

// want checks the value.
func (w *watched) want(want string, events ...string) {
	w.Helper()
	if got := w.value.Get(); got != want {
		w.Errorf("%q, want %q", got, want)
	}
	if len(w.events) != len(events) {
		w.Fatalf("events %q, want %q", w.events, events)
	}
	for i, e := range w.events {
		if e != events[i] {
			w.Errorf("events %q, want %q", w.events, events)
		}
	}
	w.events = nil
}

func TestChange(t *testing.T) {
	w := watch(t)
	w.write("a", "2")
	w.write("b", "2")
	w.want("11") // checked a moment ago
	w.pass(200 * time.Millisecond)
	w.want("11") // just written
	w.pass(900 * time.Millisecond)
	w.want("22", "changed")
	w.pass(time.Minute)
	w.want("22")
}

// A change from long ago takes effect at the first call.
func TestOldChangeAtFirstGet(t *testing.T) {
	w := watch(t)
	w.write("a", "2")
	w.write("b", "2")
	w.pass(time.Hour)
	w.want("22", "changed")
}

// A file is replaced by a link or a rename, and the new file has an old time.
func TestReplacedFile(t *testing.T) {
	w := watch(t)
	for _, name := range []string{"a", "b"} {
		old := w.now
		w.now = w.now.Add(-time.Hour)
		w.write(name+"2", "3")
		w.now = old
		w.check(os.Remove(w.file(name)))
		w.check(os.Symlink(name+"2", w.file(name)))
	}
	w.pass(time.Second)
	w.want("33", "changed")
}

// An incomplete change does not take effect, and is reported once.
func TestIncompleteChange(t *testing.T) {
	w := watch(t)
	w.write("a", "2")
	for _, events := range [][]string{{"bad"}, nil, nil} {
		w.pass(2 * time.Second)
		w.want("11", events...)
	}
	w.write("a", "x") // another bad one
	w.pass(2 * time.Second)
	w.want("11", "bad")
	w.write("b", "x")
	w.pass(2 * time.Second)
	w.want("xx", "changed")
}

// When the files are as before, nothing is read, and the next error is reported again.
func TestRestoredFiles(t *testing.T) {
	w := watch(t)
	for range 2 {
		w.check(os.Rename(w.file("a"), w.file("old")))
		w.pass(2 * time.Second)
		w.want("11") // a rename may be about to replace it
		w.pass(2 * time.Second)
		w.want("11", "bad")
		w.pass(2 * time.Second)
		w.want("11")
		w.check(os.Rename(w.file("old"), w.file("a")))
		w.pass(2 * time.Second)
		w.want("11")
	}
}

// The size of a truncated file may change before its time, which is then ignored.
func TestTruncatedFile(t *testing.T) {
	w := watch(t)
	old := w.now.Add(-time.Hour)
	for _, name := range []string{"a", "b"} {
		w.check(os.WriteFile(w.file(name), nil, 0o600))
		w.check(os.Chtimes(w.file(name), old, old))
	}
	for range 4 {
		w.pass(200 * time.Millisecond)
		w.want("11")
	}
	w.pass(time.Second)
	w.want("", "changed") // the empty file was intended
}

// A write whose new size is seen before its new time is not complete.
func TestTruncatedFileBetweenTwoChecks(t *testing.T) {
	w := watch(t)
	first := w.now
	w.write("a", "2")
	w.write("b", "2")
	w.pass(200 * time.Millisecond)
	w.want("11")
	for _, name := range []string{"a", "b"} {
		w.check(os.WriteFile(w.file(name), []byte("33"), 0o600))
		w.check(os.Chtimes(w.file(name), first, first))
	}
	w.pass(900 * time.Millisecond)
	w.want("11")
	w.pass(time.Second)
	w.want("3333", "changed")
}

// If the file system's clock differs, a change takes effect later, but is not missed.
func TestFilesWithFutureTime(t *testing.T) {
	w := watch(t)
	later := w.now.Add(24 * time.Hour)
	for _, name := range []string{"a", "b"} {
		w.check(os.WriteFile(w.file(name), []byte("4"), 0o600))
		w.check(os.Chtimes(w.file(name), later, later))
	}
	w.pass(time.Second)
	w.want("11")
	w.pass(time.Second)
	w.want("44", "changed")
}

func TestNewFails(t *testing.T) {
	w := watch(t)
	o := w.options()
	o.Files = append(o.Files, w.file("missing"))
	if _, err := reload.New(o); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	w.write("a", "2")
	if _, err := reload.New(o); !errors.Is(err, errBad) {
		t.Errorf("files that cannot be read: %v", err)
	}
}

// A read that hangs delays each caller at most a second, whichever caller started it. The
// last valid value stays in effect meanwhile.
func TestHangingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		set := func(text string) {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			old := time.Now().Add(-time.Hour)
			if err := os.Chtimes(file, old, old); err != nil {
				t.Fatal(err)
			}
		}
		set("one")
		hang := make(chan struct{})
		close(hang)
		v, err := reload.New(reload.Options[string]{Files: []string{file}, Read: func() (string, error) {
			<-hang
			data, err := os.ReadFile(file)
			return string(data), err
		}})
		if err != nil {
			t.Fatal(err)
		}
		hang = make(chan struct{})
		time.Sleep(time.Minute)
		set("another")
		v.Get() // finds the truncated file
		time.Sleep(2 * time.Second)
		began := time.Now()
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() {
				if got := v.Get(); got != "one" || time.Since(began) > time.Second {
					t.Errorf("%q after %v", got, time.Since(began))
				}
			})
		}
		callers.Wait()
		close(hang)
		synctest.Wait()
		if got := v.Get(); got != "another" {
			t.Errorf("%q once the disk answers", got)
		}
	})
}

// A caller waits for another caller's check only if the last check is overdue.
func TestHangingCheckOfAnotherCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		o := w.options()
		o.Now = time.Now
		hang := make(chan struct{})
		first := true
		o.Read = func() (string, error) {
			if !first {
				<-hang
			}
			first = false
			return w.read()
		}
		v, err := reload.New(o)
		w.check(err)
		w.now = time.Now()
		w.write("a", "2")
		w.write("b", "2")
		time.Sleep(300 * time.Millisecond)
		v.Get()
		time.Sleep(600 * time.Millisecond)
		v.Get()
		time.Sleep(300 * time.Millisecond)
		go v.Get() // reads, as the change has settled
		synctest.Wait()
		began := time.Now()
		if got := v.Get(); got != "11" || time.Since(began) > 0 {
			t.Errorf("%q after %v", got, time.Since(began))
		}
		close(hang)
		synctest.Wait()
		if got := v.Get(); got != "22" {
			t.Errorf("%q once the disk answers", got)
		}
	})
}

// A check that starts directly after another one reads nothing.
func TestCheckAfterAnother(t *testing.T) {
	w := watch(t)
	o := w.options()
	ages := []time.Duration{0, 300 * time.Millisecond, 100 * time.Millisecond} // another check ended in between
	start := w.now
	o.Now = func() time.Time {
		age := ages[0]
		ages = ages[1:]
		return start.Add(age)
	}
	reads := 0
	o.Read = func() (string, error) {
		reads++
		return w.read()
	}
	v, err := reload.New(o)
	w.check(err)
	w.check(os.Remove(w.file("a")))
	if got := v.Get(); got != "11" || reads != 1 || len(ages) > 0 {
		t.Errorf("%q after %d reads, %d ages not asked for", got, reads, len(ages))
	}
}
