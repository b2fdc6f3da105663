package layoutstore

import "testing"

// While an import moves an archive, scans of the store do not report the archive as missing.
func TestScanOfAStoreIsRejectedDuringAMove(t *testing.T) {
	for _, test := range []struct {
		moved, store, scanned bool
		try                   int
		want                  bool
	}{
		{moved: false, store: false, try: 0, want: true},
		{moved: false, store: true, scanned: true, try: 0, want: true},
		{moved: true, store: false, try: movedTries - 1, want: false},
		{moved: true, store: false, scanned: true, try: movedTries, want: true},
		{moved: true, store: true, scanned: false, try: storeTries - 1, want: false},
		{moved: true, store: true, scanned: false, try: storeTries, want: true},
		{moved: true, store: true, scanned: true, try: movedTries, want: false},
		{moved: true, store: true, scanned: true, try: 1000 * storeTries, want: false},
	} {
		if got := acceptsMove(test.moved, test.store, test.scanned, test.try); got != test.want {
			t.Errorf("acceptsMove in the case %+v: got %t, want the opposite", test, got)
		}
	}
}
