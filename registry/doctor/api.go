package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// answer is a server's answer, including its body.
type answer struct {
	code   int
	status string
	header http.Header
	length int64 // from the Content-Length header; negative if unknown
	body   []byte
	from   *url.URL // the URL that sent the answer, after redirects
}

// errBroken means that the body of an answer could not be read to its end.
var errBroken = errors.New("the answer was cut off")

// send sends a request to a path below /v2/, and reads at most limit bytes of the answer's body.
func (d *doctor) send(ctx context.Context, method, path string, header map[string]string, limit int64) (answer, error) {
	target := d.url.String() + "/v2/" + path
	if ns := namespace(d.image.host, d.url.Host); ns != "" {
		target += "?ns=" + url.QueryEscape(ns)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return answer{}, err
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	if d.auth != "" {
		req.Header.Set("Authorization", d.auth)
	}
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

// namespace returns the value of the query parameter ns that containerd sends to server. image is the
// registry in the image's name. To a mirror of that registry, containerd sends image. To the registry
// itself, it sends no ns, and the value is empty.
func namespace(image, server string) string {
	if image == server || image == dockerHub && server == "registry-1.docker.io" {
		return ""
	}
	return image
}

const maxErrorBody = 64 << 10

// askAPI requests the base of the API (/v2/) without credentials.
func (d *doctor) askAPI(ctx context.Context) Step {
	d.sent = time.Now()
	a, err := d.send(ctx, http.MethodGet, "", nil, maxErrorBody)
	d.took = time.Since(d.sent)
	if err != nil {
		return failed(adviceOfAlert(err), "GET /v2/: %v", err)
	}
	d.api = a
	switch {
	case a.code == http.StatusUnauthorized:
		return ok("a registry that requires a login")
	case a.code == http.StatusBadRequest && strings.Contains(string(a.body), "HTTPS"):
		return failed("use https://"+d.url.Host, "%s speaks TLS, but the URL is plain http", d.address())
	case a.code == http.StatusNotFound:
		return failed("use the URL of the registry (--listen, port 5000), not of the admin address (--admin-listen, port 5580), and omit /v2/",
			"%s/v2/ answers %s: not a registry", d.url, a.status)
	case a.code != http.StatusOK:
		return failed("check the log of the server, or of the proxy in front of it", "%s/v2/ answers %s%s", d.url, a.status, errorsOf(a.body))
	case a.from.Host != d.url.Host:
		return warning("use the target directly: containerd would follow the redirect again for each request", "%s/v2/ redirects to %s", d.url, a.from)
	case a.header.Get("Docker-Distribution-Api-Version") != "registry/2.0":
		return warning("check whether the URL is that of a registry", "%s/v2/ answers 200 without the header of a registry", d.url)
	}
	return ok("a registry, answered in %s", d.took.Round(10*time.Microsecond))
}

// errorsOf returns the first error in an answer of a registry: on one line, after a colon. It
// returns "" if the answer contains no error.
func errorsOf(body []byte) string {
	codes := client.ParseCodes(body)
	if len(codes) == 0 {
		return ""
	}
	text := fmt.Sprintf("%s: %s %s", codes[0].Code, codes[0].Message, codes[0].Detail)
	return ": " + problem.Excerpt(strings.Trim(text, ": "), 500)
}

// If the clocks differ by more than this, the step is a warning or a failure, because certificates
// and tokens depend on the time.
const (
	clockWarning = 30 * time.Second
	clockFailure = 5 * time.Minute
)

func (d *doctor) compareClocks(context.Context) Step {
	theirs, err := http.ParseTime(d.api.header.Get("Date"))
	if err != nil {
		return skipped("the registry does not report its time")
	}
	// The Date header has whole seconds. The server wrote it between the request and the answer.
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
