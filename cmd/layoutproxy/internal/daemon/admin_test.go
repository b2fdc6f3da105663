package daemon

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

func TestPprofIsOffWithoutFlag(t *testing.T) {
	for _, on := range []bool{false, true} {
		a := &Daemon{flags: &settings.Serve{Pprof: on}}
		w := httptest.NewRecorder()
		a.adminHandler(nil, nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/debug/pprof/goroutine?debug=1", nil))
		want := http.StatusNotFound
		if on {
			want = http.StatusOK
		}
		if w.Code != want {
			t.Errorf("with --pprof=%t, status is %d, want %d", on, w.Code, want)
		}
	}
}

// Each path of the admin address answers each method with the right status, and HEAD like GET.
func TestAdminPathsAndMethods(t *testing.T) {
	_, admin := inProcess(t, t.TempDir())
	read, write := "GET, HEAD", "POST"
	for path, allowed := range map[string]string{
		"/healthz": read, "/readyz": read, "/status": read, "/metrics": read, "/rescan": write, "/reload": write,
		"/": read, "/repositories": read, "/problems": read, "/assets/page.css": read, "/healthz/": "", "/nothing": "", "/debug/pprof/": "", "/status/x": "",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"} {
			req, err := http.NewRequest(method, "http://"+admin+path, nil)
			layouttest.Try(t, err)
			resp, err := http.DefaultClient.Do(req)
			layouttest.Try(t, err)
			body, err := io.ReadAll(resp.Body)
			layouttest.Try(t, err)
			resp.Body.Close()
			code, allow := http.StatusMethodNotAllowed, allowed
			switch {
			case allowed == "":
				code = http.StatusNotFound
			case strings.Contains(allowed, method):
				code, allow = http.StatusOK, ""
			}
			if resp.StatusCode != code || resp.Header.Get("Allow") != allow || len(body) == 0 && method != "HEAD" {
				t.Errorf("%s %s: status %d, Allow %q, body %q; want status %d, Allow %q", method, path, resp.StatusCode, resp.Header.Get("Allow"), body, code, allow)
			}
		}
	}
}
