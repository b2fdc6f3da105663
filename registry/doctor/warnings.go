package doctor

import (
	"context"
	"net/http"
	"regexp"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// readWarnings reads the warnings that the registry sends with the base of its API (distribution
// specification 1.1, "Warnings"). In these warnings, layoutproxy lists content that it cannot
// serve.
func (d *doctor) readWarnings(ctx context.Context) Step {
	a := d.api
	if a.code != http.StatusOK { // the first request had no login, although the registry requires one
		var err error
		if a, err = d.send(ctx, http.MethodGet, "", nil, maxErrorBody); err != nil {
			return failed("check the server's log", "GET /v2/: %v", err)
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
	return warning("copy the files named above again; layoutproxy status lists all problems, and layoutproxy verify SOURCE finds damaged bytes", "%s", strings.Join(texts, "; "))
}

// warningText returns the text in a Warning header. ok is false if the header does not have the
// form that registries use.
func warningText(value string) (text string, ok bool) {
	m := regexp.MustCompile(`^299 - "((?:[^"\\]|\\.)*)"$`).FindStringSubmatch(value)
	if m == nil {
		return "", false
	}
	text = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(m[1])
	return problem.Excerpt(text, 1000), true
}
