package page

import (
	"net/http"
	"strconv"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

type overviewPage struct {
	Right, Incoming, There section
	Rows                   []repositoryRow
	Repositories           int
	Node                   node
}

func (p *Page) overview(w http.ResponseWriter, req *http.Request) {
	now, s := p.state(req.Context()), p.options.Source.Snapshot()
	page := overviewPage{Right: now.sections["right"], Incoming: now.sections["incoming"], There: now.sections["there"],
		Repositories: s.RepositoryCount(), Node: p.node(req, now.status)}
	page.Rows, _ = firstRows(s, "", overviewSize)
	p.render(w, req, http.StatusOK, "overview", frame{Title: "Overview", Nav: "overview", Content: page})
}

// problemsPage is one page of the list of all problems, which are grouped by cause.
type problemsPage struct {
	Causes []*problem.Cause
	// Total is the number of causes.
	Total int
	// Count is the number of problems.
	Count   int
	Checked bool
	Next    int // number of the first cause on the next page; 0 on the last page
}

func (p *Page) problems(w http.ResponseWriter, req *http.Request) {
	now := p.state(req.Context())
	from, err := strconv.Atoi(req.URL.Query().Get("from"))
	causes := now.health.causes
	if err != nil || from < 0 || from > len(causes) {
		from = 0
	}
	page := problemsPage{Causes: causes[from:], Total: len(causes), Count: len(now.status.Problems), Checked: now.status.Checked}
	if len(page.Causes) > pageSize {
		page.Causes, page.Next = page.Causes[:pageSize], from+pageSize
	}
	p.render(w, req, http.StatusOK, "problems", frame{Title: "Problems", Nav: "problems", Content: page})
}
