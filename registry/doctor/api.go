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
)

// request makes a request of the API; path stands below /v2/.
func (d *doctor) request(ctx context.Context, method, path string) (*http.Request, error) {
	target := d.url.String() + "/v2/" + path
	if d.image.host != "" && d.image.host != d.url.Host {
		target += "?ns=" + d.image.host // as containerd asks mirrors
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
	length int64 // by its header; negative if that does not say
	body   []byte
	from   *url.URL // that gave it, after redirects
}

// errBroken is how a server says in the middle of an answer that it cannot go on.
var errBroken = errors.New("the answer breaks off")

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

// askAPI asks for the base of the API, without credentials.
func (d *doctor) askAPI(ctx context.Context) Step {
	req, err := d.request(ctx, http.MethodGet, "")
	if err != nil {
		return failed("mend the URL", "%v", err)
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
		return ok("a registry, which asks for a login")
	case a.code == http.StatusBadRequest && strings.Contains(string(a.body), "HTTPS"):
		return failed("ask by https://"+d.url.Host, "%s speaks TLS, and was asked by plain http", d.address())
	case a.code == http.StatusNotFound:
		return failed("the URL is that of the registry (--listen, port 5000), not of the admin address (--admin-listen, port 5580), and ends before /v2/",
			"%s/v2/ answers %s: no registry", d.url, a.status)
	case a.code != http.StatusOK:
		return failed("see the log of the server, or of the proxy before it", "%s/v2/ answers %s%s", d.url, a.status, errorsOf(a.body))
	case a.from.Host != req.URL.Host:
		return warning("containerd follows too, but asks again at each request: point it there at once", "%s/v2/ leads to %s", d.url, a.from)
	case a.header.Get("Docker-Distribution-Api-Version") != "registry/2.0":
		return warning("is that a registry? see what answers there", "%s/v2/ answers 200 and does not say that it is a registry", d.url)
	}
	return ok("a registry, in %s", d.took.Round(10*time.Microsecond))
}

// errorsOf is what a registry says of an error (distribution specification, "Error
// Codes"), in one line, or nothing.
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
	const most = 500
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return strings.Map(printable, text)
}

// printable keeps what a server says to one line.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}

// Clocks that differ by more are warned of, or fail: certificates and tokens live by
// them.
const (
	clockWarning = 30 * time.Second
	clockFailure = 5 * time.Minute
)

// compareClocks compares the server's clock with ours.
func (d *doctor) compareClocks(context.Context) Step {
	theirs, err := http.ParseTime(d.api.header.Get("Date"))
	if err != nil {
		return skipped("the registry does not say what time it has")
	}
	// The header has whole seconds; its moment lies between question and answer.
	apart := theirs.Add(500 * time.Millisecond).Sub(d.sent.Add(d.took / 2)).Round(time.Second)
	const advice = "set both clocks (chrony, systemd-timesyncd): certificates and tokens are valid by them"
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
	return ok("%s apart", apart)
}
