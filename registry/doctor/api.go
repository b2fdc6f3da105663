package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// request makes a request of the API; path is relative to /v2/.
func (d *doctor) request(ctx context.Context, method, path string) (*http.Request, error) {
	target := d.url.String() + "/v2/" + path
	if d.image.host != "" && d.image.host != d.url.Host {
		target += "?ns=" + d.image.host // as containerd does with mirrors
	}
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, err
	}
	if d.auth != "" {
		req.Header.Set("Authorization", d.auth)
	}
	return req, nil
}

// answer is an answer whose body was read.
type answer struct {
	code   int
	status string
	header http.Header
	length int64 // from its header; negative if unknown
	body   []byte
	from   *url.URL // the URL that answered, after redirects
}

// errBroken means that the answer ended before its announced length.
var errBroken = errors.New("the answer was cut off")

// do sends a request and reads at most limit bytes of the answer's body.
func (d *doctor) do(req *http.Request, limit int64) (answer, error) {
	resp, err := d.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit))
	if err != nil {
		return answer{}, fmt.Errorf("%w after %d bytes: %w", errBroken, len(body), err)
	}
	return answer{resp.StatusCode, resp.Status, resp.Header, resp.ContentLength, body, resp.Request.URL}, nil
}

const maxErrorBody = 64 << 10

// askAPI requests the base of the API, without credentials.
func (d *doctor) askAPI(ctx context.Context) Step {
	req, err := d.request(ctx, http.MethodGet, "")
	if err != nil {
		return failed("fix the URL", "%v", err)
	}
	d.sent = time.Now()
	a, err := d.do(req, maxErrorBody)
	d.took = time.Since(d.sent)
	if err != nil {
		return failed(adviceOfAlert(err), "GET /v2/: %v", err)
	}
	d.api = a
	switch {
	case a.code == http.StatusUnauthorized:
		return ok("a registry that requires a login")
	case a.code == http.StatusBadRequest && strings.Contains(string(a.body), "HTTPS"):
		return failed("use https://"+d.url.Host, "%s speaks TLS, and the URL is plain http", d.address())
	case a.code == http.StatusNotFound:
		return failed("use the URL of the registry (--listen, port 5000), not of the admin address (--admin-listen, port 5580), and omit /v2/",
			"%s/v2/ answers %s: not a registry", d.url, a.status)
	case a.code != http.StatusOK:
		return failed("check the log of the server, or of the proxy in front of it", "%s/v2/ answers %s%s", d.url, a.status, errorsOf(a.body))
	case a.from.Host != req.URL.Host:
		return warning("containerd follows the redirect, but for each request again: use the target directly", "%s/v2/ redirects to %s", d.url, a.from)
	case a.header.Get("Docker-Distribution-Api-Version") != "registry/2.0":
		return warning("is that a registry? check what listens there", "%s/v2/ answers 200 without the header of a registry", d.url)
	}
	return ok("a registry, answered in %s", d.took.Round(10*time.Microsecond))
}

// errorsOf returns a registry's error (distribution specification, "Error Codes") on one
// line, or "".
func errorsOf(body []byte) string {
	var doc struct {
		Errors []struct {
			Code    string          `json:"code"`
			Message string          `json:"message"`
			Detail  json.RawMessage `json:"detail"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &doc) != nil || len(doc.Errors) == 0 {
		return ""
	}
	e := doc.Errors[0]
	text := fmt.Sprintf(": %s: %s", e.Code, e.Message)
	if len(e.Detail) > 0 && string(e.Detail) != "null" {
		text += " " + string(e.Detail)
	}
	return problem.Excerpt(text, 500)
}

// A larger difference between the clocks is a warning, or a failure: certificates and
// tokens depend on the time.
const (
	clockWarning = 30 * time.Second
	clockFailure = 5 * time.Minute
)

// compareClocks compares the server's clock with ours.
func (d *doctor) compareClocks(context.Context) Step {
	theirs, err := http.ParseTime(d.api.header.Get("Date"))
	if err != nil {
		return skipped("the registry does not report its time")
	}
	// The header has whole seconds, of a moment between request and answer.
	apart := theirs.Add(500 * time.Millisecond).Sub(d.sent.Add(d.took / 2)).Round(time.Second)
	const advice = "synchronize both clocks (chrony, systemd-timesyncd): certificates and tokens depend on the time"
	way := "ahead of"
	if apart < 0 {
		apart, way = -apart, "behind"
	}
	switch {
	case apart > clockFailure:
		return failed(advice, "the registry's clock is %s %s this machine's", apart, way)
	case apart > clockWarning:
		return warning(advice, "the registry's clock is %s %s this machine's", apart, way)
	}
	return ok("the clocks differ by %s", apart)
}
