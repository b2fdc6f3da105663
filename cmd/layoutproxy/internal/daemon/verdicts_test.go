package daemon

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// /status reports for each platform version whether it is ready. A rescan updates the reports.
func TestStatusReportsReadyVersions(t *testing.T) {
	dir := t.TempDir()
	layouttest.Publish(t, dir, "app", "v1.0.0")
	_, admin := inProcess(t, "--rescan", "0", dir)
	wait := func(what, want string) {
		t.Helper()
		layouttest.Eventually(t, what, func() bool {
			resp, err := http.Get("http://" + admin + "/status")
			layouttest.Try(t, err)
			defer resp.Body.Close()
			var document struct {
				Ready []struct {
					Version string
					Ready   bool
					Reasons []struct{ Text string }
				}
			}
			layouttest.Try(t, json.NewDecoder(resp.Body).Decode(&document))
			if document.Ready == nil {
				return false
			}
			var lines []string
			for _, v := range document.Ready {
				for _, r := range v.Reasons {
					text, _, _ := strings.Cut(r.Text, ": layer sha256:") // The digest at this place differs in each run.
					lines = append(lines, v.Version+": "+text)
				}
				if v.Ready {
					lines = append(lines, v.Version)
				}
			}
			return strings.Join(lines, "\n") == want
		})
	}
	wait("/status reports no versions", "")
	layouttest.Publish(t, dir, "release-channel", "v1.70.1")
	resp, err := http.Post("http://"+admin+"/rescan", "", nil)
	layouttest.Try(t, err)
	resp.Body.Close()
	wait("/status reports a version that is not ready", "v1.70.1: missing platform image: v1.70.1\nv1.70.1: missing installer: install:v1.70.1\nv1.70.1: the declarations of release-channel:v1.70.1 cannot be read")
}
