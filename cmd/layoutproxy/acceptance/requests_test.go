package acceptance

import (
	"context"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// requestOnce sends one request, with the credentials from the URL, and follows no redirect. header
// contains names and values in turn. Headers with an empty value are not sent.
func requestOnce(t *testing.T, method, url string, header ...string) (*http.Response, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	must(t, err)
	if login := req.URL.User; login != nil {
		password, _ := login.Password()
		req.SetBasicAuth(login.Username(), password)
	}
	for pair := range slices.Chunk(header, 2) {
		if pair[1] != "" {
			req.Header.Set(pair[0], pair[1])
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp, string(body)
}

// body downloads a URL. It fails the test unless the status is 200.
func body(t *testing.T, url string) string {
	t.Helper()
	resp, body := requestOnce(t, http.MethodGet, url)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: got status %s, want 200; body %q", url, resp.Status, body)
	}
	return body
}

func statusAt(t *testing.T, url string) int {
	t.Helper()
	resp, _ := requestOnce(t, http.MethodGet, url)
	return resp.StatusCode
}

// eventually calls ask until ok is true. It returns the last answer, and logs it if the test fails.
func eventually(t *testing.T, what string, ask func() (answer string, ok bool)) (answer string) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("the last response was: %s", answer)
		}
	}()
	layouttest.Eventually(t, what, func() (ok bool) {
		answer, ok = ask()
		return ok
	})
	return answer
}
