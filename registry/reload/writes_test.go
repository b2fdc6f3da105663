package reload_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/registry/reload"
)

// If a file is written or removed while the value is read, that value is not used.
func TestWritesDuringRead(t *testing.T) {
	for name, disturb := range map[string]func(w *watched){
		"written": func(w *watched) { w.write("b", "3") },
		"removed": func(w *watched) { w.check(os.Remove(w.file("b"))) },
	} {
		t.Run(name, func(t *testing.T) {
			w := watch(t)
			o := w.options()
			var during func(*watched)
			o.Read = func() (string, error) {
				s, err := w.read()
				if during != nil {
					during(w)
				}
				return s, err
			}
			var err error
			if w.value, err = reload.New(o); err != nil {
				t.Fatal(err)
			}
			w.write("a", "2")
			w.write("b", "2")
			during = disturb
			w.pass(2 * time.Second)
			w.want("11")
			during = nil
			w.write("a", "4")
			w.write("b", "4")
			w.pass(2 * time.Second)
			w.want("44", "changed")
		})
	}
}

func TestReloadWithoutCallbacks(t *testing.T) {
	w := watch(t)
	o := w.options()
	o.Changed, o.Failed = nil, nil
	var err error
	if w.value, err = reload.New(o); err != nil {
		t.Fatal(err)
	}
	w.write("a", "x")
	w.pass(2 * time.Second)
	w.want("11")
	w.write("b", "x")
	w.pass(2 * time.Second)
	w.want("xx")
}

func TestMissingFileThatReadIgnores(t *testing.T) {
	w := watch(t)
	o := w.options()
	w.write("c", "1")
	o.Files = append(o.Files, w.file("c"))
	var failed error
	o.Failed = func(err error) { failed = err }
	w.pass(time.Hour)
	value, err := reload.New(o)
	if err != nil {
		t.Fatal(err)
	}
	w.check(os.Remove(w.file("c")))
	for range 2 {
		w.pass(2 * time.Second)
		if got := value.Get(); got != "11" {
			t.Errorf("without the third file, the value is %q, want 11, the last valid value", got)
		}
	}
	if !errors.Is(failed, os.ErrNotExist) {
		t.Errorf("the last call of Failed got the error %v (nil: no call), want os.ErrNotExist", failed)
	}
}
