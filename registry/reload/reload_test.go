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

// watched is a test with a clock, and with a directory of two files. The value that is reloaded
// consists of the texts of both files.
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

// write writes a file in place, and sets its modification time from the test's clock.
func (w *watched) write(name, text string) {
	w.Helper()
	w.check(os.WriteFile(w.file(name), []byte(text), 0o600))
	w.check(os.Chtimes(w.file(name), w.now, w.now))
}

func (w *watched) pass(d time.Duration) { w.now = w.now.Add(d) }

// want checks the value, and the events since the last call of want.
func (w *watched) want(want string, events ...string) {
	w.Helper()
	if got := w.value.Get(); got != want {
		w.Errorf("the value is %q, want %q", got, want)
	}
	if len(w.events) != len(events) {
		w.Fatalf("the events are %q, want %q", w.events, events)
	}
	for i, e := range w.events {
		if e != events[i] {
			w.Errorf("the events are %q, want %q", w.events, events)
		}
	}
	w.events = nil
}

func TestChangeTakesEffectAfterPause(t *testing.T) {
	w := watch(t)
	w.write("a", "2")
	w.write("b", "2")
	w.want("11") // no check yet, because the last check was a moment ago
	w.pass(200 * time.Millisecond)
	w.want("11") // just written
	w.pass(900 * time.Millisecond)
	w.want("22", "changed")
	w.pass(time.Minute)
	w.want("22")
}

func TestOldChangeAppliesToNextGet(t *testing.T) {
	w := watch(t)
	w.write("a", "2")
	w.write("b", "2")
	w.pass(time.Hour)
	w.want("22", "changed")
}

// If a file is replaced by a link or a rename, the change is found even if the new file is older.
func TestReplacedFileWithOldTime(t *testing.T) {
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

func TestIncompleteChangeIsReportedOnce(t *testing.T) {
	w := watch(t)
	w.write("a", "2")
	for _, events := range [][]string{{"bad"}, nil, nil} {
		w.pass(2 * time.Second)
		w.want("11", events...)
	}
	w.write("a", "x") // a second incomplete change
	w.pass(2 * time.Second)
	w.want("11", "bad")
	w.write("b", "x")
	w.pass(2 * time.Second)
	w.want("xx", "changed")
}

// If a file disappears and comes back unchanged, nothing is read. If the file disappears a second
// time, the error is reported a second time.
func TestFileDisappearsAndComesBack(t *testing.T) {
	w := watch(t)
	for range 2 {
		w.check(os.Rename(w.file("a"), w.file("old")))
		w.pass(2 * time.Second)
		w.want("11") // not reported yet, because the file may be about to be replaced by a rename
		w.pass(2 * time.Second)
		w.want("11", "bad")
		w.pass(2 * time.Second)
		w.want("11")
		w.check(os.Rename(w.file("old"), w.file("a")))
		w.pass(2 * time.Second)
		w.want("11")
	}
}

// The size of a truncated file may change before its modification time. Until then, the
// modification time is not trusted.
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
	w.want("", "changed") // the file stayed empty, so it is meant to be empty
}

// If the new size of a file is seen before its new modification time, the write is not complete.
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

// If the clock of the file system is ahead, a change takes effect later, but it is not missed.
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

func TestNewWithUnusableFiles(t *testing.T) {
	w := watch(t)
	o := w.options()
	o.Files = append(o.Files, w.file("missing"))
	if _, err := reload.New(o); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("New with a missing file returned %v, want os.ErrNotExist", err)
	}
	w.write("a", "2")
	if _, err := reload.New(o); !errors.Is(err, errBad) {
		t.Errorf("New with files that cannot be used returned %v, want the error of Read", err)
	}
}

// If reading a file hangs, no caller waits for more than a second, even if another caller started to
// read. Until the read ends, the last valid value stays in effect.
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
		v.Get() // this call starts the read that hangs
		time.Sleep(2 * time.Second)
		began := time.Now()
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() {
				if got := v.Get(); got != "one" || time.Since(began) > time.Second {
					t.Errorf("while the disk hangs, Get returned %q after %v, want the last valid value within a second", got, time.Since(began))
				}
			})
		}
		callers.Wait()
		close(hang)
		synctest.Wait()
		if got := v.Get(); got != "another" {
			t.Errorf("when the disk answers again, the value is %q, want the new value", got)
		}
	})
}

// If one caller is checking the files, another caller waits for that check only if the last
// complete check is overdue.
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
		go v.Get() // this call reads the files, because the change has settled
		synctest.Wait()
		began := time.Now()
		if got := v.Get(); got != "11" || time.Since(began) > 0 {
			t.Errorf("while another caller reads, Get returned %q after %v, want the last valid value at once", got, time.Since(began))
		}
		close(hang)
		synctest.Wait()
		if got := v.Get(); got != "22" {
			t.Errorf("when the disk answers again, the value is %q, want the new value", got)
		}
	})
}

func TestCheckDirectlyAfterAnother(t *testing.T) {
	w := watch(t)
	o := w.options()
	ages := []time.Duration{0, 300 * time.Millisecond, 100 * time.Millisecond} // the third age makes it look as if another check had just ended
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
		t.Errorf("the value is %q after %d reads, and %d ages were not used; want 11 after one read, and all ages used", got, reads, len(ages))
	}
}
