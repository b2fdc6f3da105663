package daemon

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestProfilesAreThereWithTheFlagOnly(t *testing.T) {
	for _, on := range []bool{false, true} {
		a := &admin{pprof: on}
		w := httptest.NewRecorder()
		a.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/debug/pprof/goroutine?debug=1", nil))
		want := http.StatusNotFound
		if on {
			want = http.StatusOK
		}
		if w.Code != want {
			t.Errorf("with pprof %t: %d, want %d", on, w.Code, want)
		}
	}
}
