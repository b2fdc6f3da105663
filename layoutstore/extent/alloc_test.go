package extent

import (
	"testing"
)

// Opening a list makes one allocation more than opening its only file: the one for the section.
func TestAllocationsWhenOpeningOneFile(t *testing.T) {
	f := write(t, numbered(9))
	l := List{{File: f, Off: 1, Len: 5}}
	file := testing.AllocsPerRun(100, func() {
		open, err := f.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := open.Stat(); err != nil {
			t.Error(err)
		}
		open.Close()
	})
	list := testing.AllocsPerRun(100, func() {
		r, err := l.OpenRange(t.Context(), 0, 5)
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
	})
	if list > file+1 {
		t.Errorf("opening the list made %v allocations, want at most %v", list, file+1)
	}
}
