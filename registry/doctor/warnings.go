package doctor

import (
	"context"
	"net/http"
	"regexp"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// readWarnings reads what the registry warns of at the base of its API (distribution
// specification 1.1, "Warnings"). layoutproxy lists there the content that it cannot serve.
func (d *doctor) readWarnings(ctx context.Context) Step {
	a := d.api
	if a.code != http.StatusOK { // it asked for a login, which we have by now
		req, err := d.request(ctx, http.MethodGet, "")
		if err != nil {
			return failed("fix the URL", "%v", err)
		}
		if a, err = d.do(req, maxErrorBody); err != nil {
			return failed("see the server's log", "GET /v2/: %v", err)
		}
	}
	var texts []string
	for _, value := range a.header.Values("Warning") {
		if text, ok := warningText(value); ok {
			texts = append(texts, text)
		}
	}
	if len(texts) == 0 {
		return ok("the registry reports no problem")
	}
	return warning("copy again what is named here; layoutproxy status lists all problems, and layoutproxy verify SOURCE finds damaged bytes", "%s", strings.Join(texts, "; "))
}

// warningText returns the text of a Warning header of a registry. ok is false for another one.
func warningText(value string) (text string, ok bool) {
	m := regexp.MustCompile(`^299 - "((?:[^"\\]|\\.)*)"$`).FindStringSubmatch(value)
	if m == nil {
		return "", false
	}
	text = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(m[1])
	return problem.Excerpt(text, 1000), true
}
