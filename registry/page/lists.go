package page

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gorilla/mux"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

const (
	// pageSize is the number of entries on one page of a list.
	pageSize = 100
	// overviewSize is the number of repositories on the overview.
	overviewSize = 12
	// maxQuery is the longest accepted search query, in characters.
	maxQuery = 200
)

type repositoryRow struct {
	Root, Path string // the name of the repository is Root + Path
	Tags       int
	Hit        string // the tag that a search found; empty if the search found the repository itself
}

func (r repositoryRow) Name() string { return r.Root + r.Path }

// newRow returns the row for a repository. It splits the name after its longest root prefix.
func newRow(s *layoutstore.Snapshot, roots []string, name string) repositoryRow {
	row := repositoryRow{Path: name}
	for _, root := range roots {
		if rest, ok := strings.CutPrefix(name, root+"/"); ok && root != "" && len(root)+1 > len(row.Root) {
			row.Root, row.Path = root+"/", rest
		}
	}
	if repo, err := s.Repository(name); err == nil {
		row.Tags = repo.TagCount()
	}
	return row
}

func firstRows(s *layoutstore.Snapshot, after string, n int) (rows []repositoryRow, more bool) {
	found, more := s.Repositories(after, n)
	roots := s.Roots()
	for _, name := range found {
		rows = append(rows, newRow(s, roots, name))
	}
	return rows, more
}

// search finds the repositories and tags that match every word of a query, sorted by name. A word
// matches if the name (NAME or NAME:TAG) contains the word, or if the digest of the tag starts with
// it. If a repository's name matches without a tag, search does not list its tags.
func search(s *layoutstore.Snapshot, query, after string, n int) (rows []repositoryRow, more bool) {
	words := wordsOf(query)
	roots := s.Roots()
	afterName, afterTag, _ := strings.Cut(after, ":")
	var full []byte // NAME:TAG
	all, _ := s.Repositories("", -1)
	for _, name := range all {
		if name < afterName {
			continue
		}
		if containsAll(name, words) {
			if name == afterName {
				continue
			}
			if len(rows) == n {
				return rows, true
			}
			rows = append(rows, newRow(s, roots, name))
			continue
		}
		last := ""
		if name == afterName {
			last = afterTag
		}
		repo, err := s.Repository(name)
		if err != nil {
			continue
		}
		for tag := range repo.AllTags(last) {
			full = append(append(append(full[:0], name...), ':'), strings.ToLower(tag)...)
			if !matches(repo, full, tag, words) {
				continue
			}
			if len(rows) == n {
				return rows, true
			}
			row := newRow(s, roots, name)
			row.Hit = tag
			rows = append(rows, row)
		}
	}
	return rows, false
}

type word struct {
	text []byte
	hex  string // the hex digits in text, if text may be the beginning of a digest
}

func wordsOf(query string) (words []word) {
	for _, text := range strings.Fields(strings.ToLower(query)) {
		w := word{text: []byte(text)}
		if hex := strings.TrimPrefix(text, "sha256:"); len(hex) >= 6 && strings.Trim(hex, "0123456789abcdef") == "" {
			w.hex = hex
		}
		words = append(words, w)
	}
	return words
}

func containsAll(text string, words []word) bool {
	return !slices.ContainsFunc(words, func(w word) bool { return !strings.Contains(text, string(w.text)) })
}

// matches reports whether every word matches a tag. A word matches if full, the tag's full name,
// contains the word, or if the tag's digest starts with it.
func matches(repo *layoutstore.Repository, full []byte, tag string, words []word) bool {
	for _, w := range words {
		if bytes.Contains(full, w.text) {
			continue
		}
		if w.hex == "" {
			return false
		}
		if d, err := repo.TagDigest(tag); err != nil || !strings.HasPrefix(d.Encoded(), w.hex) {
			return false
		}
	}
	return true
}

// listing is the page that lists all repositories, or the results of a search.
type listing struct {
	Query        string
	Rows         []repositoryRow
	Repositories int
	Next         string // path and query of the next page; empty on the last page
	First        bool
}

func (p *Page) repositories(w http.ResponseWriter, req *http.Request) {
	s := p.options.Source.Snapshot()
	query, ok := p.cleanQuery(w, req)
	if !ok {
		return
	}
	after := req.URL.Query().Get("after")
	l := listing{Query: query, Repositories: s.RepositoryCount(), First: after == ""}
	var more bool
	if strings.TrimSpace(l.Query) == "" {
		l.Rows, more = firstRows(s, after, pageSize)
	} else {
		l.Rows, more = search(s, l.Query, after, pageSize)
	}
	if more {
		last := l.Rows[len(l.Rows)-1]
		after = last.Name()
		if last.Hit != "" {
			after += ":" + last.Hit
		}
		l.Next = "/repositories?" + nextPage(after, l.Query)
	}
	p.render(w, req, http.StatusOK, "repositories", frame{Title: "Repositories", Nav: "repositories", Query: l.Query, Content: l})
}

func nextPage(after, query string) string {
	next := url.Values{"after": {after}}
	if query != "" {
		next.Set("q", query)
	}
	return next.Encode()
}

// cleanQuery returns the search query of a request. It removes invisible characters, because no
// name contains them. If the query is too long, cleanQuery answers with an error, and ok is false.
func (p *Page) cleanQuery(w http.ResponseWriter, req *http.Request) (query string, ok bool) {
	query = strings.Map(func(r rune) rune {
		if problem.IsHidden(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, req.URL.Query().Get("q"))
	if utf8.RuneCountInString(query) > maxQuery {
		p.fail(w, req, http.StatusBadRequest, fmt.Sprintf("The search has more than %d characters: shorten it.", maxQuery))
		return "", false
	}
	return query, true
}

type repositoryPage struct {
	repositoryRow
	Query    string
	Rows     []tagRow
	Untagged []tagRow
	More     int // number of further untagged manifests
	Next     string
	First    bool
	Places   []string // where the layouts of the repository are stored
	Causes   []*problem.Cause
}

type tagRow struct {
	Tag    string // empty for a manifest without a tag
	Digest digest.Digest
	Kind   string
	Broken bool // true if the manifest cannot be served
}

func (p *Page) repository(w http.ResponseWriter, req *http.Request) {
	s := p.options.Source.Snapshot()
	name := mux.Vars(req)["name"]
	repo, err := s.Repository(name)
	if err != nil {
		p.fail(w, req, http.StatusNotFound, "There is no repository of this name in the sources.")
		return
	}
	query, ok := p.cleanQuery(w, req)
	if !ok {
		return
	}
	after := req.URL.Query().Get("after")
	page := repositoryPage{repositoryRow: newRow(s, s.Roots(), name), Query: query, First: after == ""}
	ctx, cancel := context.WithTimeout(req.Context(), imagePatience)
	defer cancel()
	page.tags(ctx, repo, after)
	untagged, _ := repo.Untagged(ctx) // an index that cannot be read is already listed as a problem
	for _, d := range untagged[:min(pageSize, len(untagged))] {
		page.Untagged = append(page.Untagged, tagRow{Digest: d.Digest, Kind: kindOf(d.MediaType)})
	}
	page.More = len(untagged) - len(page.Untagged)
	for _, l := range repo.Layouts() {
		place, entry := l.Where()
		if entry != "" && entry != "." {
			place += ": " + entry
		}
		page.Places = append(page.Places, place)
	}
	page.problems(p.state(req.Context()).status.Problems)
	p.render(w, req, http.StatusOK, "repository", frame{Title: name, Nav: "repositories", Content: page})
}

// tags adds one page of the repository's tags. The API lists the same tags.
func (page *repositoryPage) tags(ctx context.Context, repo *layoutstore.Repository, after string) {
	words := wordsOf(page.Query)
	for tag := range repo.AllTags(after) {
		if !containsAll(strings.ToLower(tag), words) {
			continue
		}
		if len(page.Rows) == pageSize {
			page.Next = "?" + nextPage(page.Rows[pageSize-1].Tag, page.Query)
			return
		}
		row := tagRow{Tag: tag}
		if d, err := repo.Tag(ctx, tag); err == nil {
			row.Digest, row.Kind = d.Digest, kindOf(d.MediaType)
		}
		if repo.IsDiscovery(row.Digest) {
			row.Kind = "discovery"
		}
		page.Rows = append(page.Rows, row)
	}
}

// problems adds the problems of the repository, and marks its tags that cannot be served.
func (page *repositoryPage) problems(all []layoutstore.Problem) {
	broken := map[string]bool{}
	var own []layoutstore.Problem
	for _, problem := range all {
		if problem.Repository != page.Name() {
			continue
		}
		own = append(own, problem)
		for _, tag := range problem.Tags {
			broken[tag] = broken[tag] || problem.IsFailure()
		}
	}
	page.Causes = problem.Causes(own)
	for i := range page.Rows {
		page.Rows[i].Broken = broken[page.Rows[i].Tag]
	}
}

func kindOf(mediaType string) string {
	switch mediaType {
	case specs.MediaTypeImageIndex, closure.DockerManifestList:
		return "index"
	case specs.MediaTypeImageManifest, closure.DockerManifest:
		return "image"
	case closure.ArtifactManifest:
		return "artifact"
	}
	return "manifest"
}

// parseReference splits NAME:TAG or NAME@DIGEST into its parts.
func parseReference(s string) (name, tag string, d digest.Digest, ok bool) {
	if before, after, found := strings.Cut(s, "@"); found {
		d, err := digest.Parse(after)
		return before, "", d, err == nil
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", "", "", false
	}
	return s[:i], s[i+1:], "", names.IsTag(s[i+1:])
}
