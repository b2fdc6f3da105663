// Command phrases finds phrases that the project avoids in comments, strings, documents and scripts, and
// suggests what to write instead. It prints one line per finding, FILE:LINE: "PHRASE", and exits with
// status 1 if it finds any.
//
// Readers had to read sentences with these phrases twice. Some words are wrong only in one sense.
// The list contains such a word only together with other words that show this sense.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// phrase is a phrase to avoid, with a plainer phrase to write instead.
type phrase struct {
	pattern *regexp.Regexp
	instead string
}

func must(pattern, instead string) phrase {
	return phrase{regexp.MustCompile("(?i)" + pattern), instead}
}

var phrases = []phrase{
	must(`\btold\b`, "reported, distinguished"),
	must(`\black(s|ed|ing)?\b`, "is missing, has no"),
	must(`\b(is|are|was|were) not there\b`, "is missing"),
	must(`\b\w*([^e\W]|[^r]e) (is|are|was|were) none\b`, "there is no …, invalid, disabled: whichever is meant"),
	must(`\b(is|are|was|were|be|being|been|not|stays?) whole\b`, "complete, intact, valid"),
	must(`\bmend(s|ed|ing)?\b`, "fix, repair"),
	must(`\bdear(er|est)?\b`, "expensive"),
	must(`\bat the door\b`, "at the start of the request"),
	must(`\blook(s|ed|ing)? at\b.{0,20}\b(again|once more|anew)\b`, "rescan, check again"),
	must(`\banew\b`, "again, from the start"),
	must(`\b(goes|go|went|going) on (where|from|with|after|inside)\b`, "resume, continue"),
	must(`\b(goes|go|went|going) on\b[.,;:)]`, "resume, continue"),
	must(`\b(lies|lie|lay) (in|on|at|behind|beside|below|there|where|between|nowhere)\b`, "is stored, is"),
	must(`\bas (it|they) (lies|lie)\b`, "in place"),
	must(`\bbytes are those of\b`, "checksum mismatch: content is …"),
	must(`\bis no setting\b`, "unknown setting"),
	must(`\b(to|for|by|of|from) who\b`, "whoever, or name the actor"),
	must(`\ba (request|line|tag|second|manifest|blob) a (request|line|tag|second|manifest|blob)\b`, "one … per …"),
	must(`\bcondemn(s|ed|ing)?\b`, "quarantine"),
	must(`\bin the clear\b`, "unencrypted"),
	must(`\b(not|cannot|can) be had\b`, "is missing, cannot be read, is unavailable"),
	must(`\b(is|are) not here\b`, "is missing"),
	must(`\bis no gap\b`, "is not reported, is no problem"),
	must(`\btaken for (nothing|the end|missing|absent)\b`, "counts as …"),
	must(`\bgone on (from|with)\b`, "resumed"),
	must(`\bas good as not\b`, "like a missing one"),
}

func main() {
	found := 0
	for _, file := range listFiles() {
		if skip(file) {
			continue
		}
		content, err := os.ReadFile(file)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		found += check(file, content)
	}
	if found > 0 {
		fmt.Printf("found %d phrases to avoid\n", found)
		os.Exit(1)
	}
}

// listFiles returns the files that git tracks in the repository.
func listFiles() []string {
	out, err := exec.Command("git", "ls-files", "-z").Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, "git ls-files:", err)
		os.Exit(2)
	}
	return strings.Split(strings.TrimRight(string(out), "\x00"), "\x00")
}

// skip reports whether a file is excluded from the check. Test data (except .txtar scripts), licences,
// the list of phrases, and files with any extension that is not listed below are excluded.
func skip(file string) bool {
	if strings.Contains("/"+file, "/testdata/") && !strings.HasSuffix(file, ".txtar") || strings.HasPrefix(file, ".ci/phrases/") {
		return true
	}
	switch filepath.Ext(file) {
	case ".go", ".md", ".yaml", ".yml", ".sh", ".txtar", ".txt":
		return false
	case "":
		return filepath.Base(file) == "LICENSE"
	}
	return true
}

// check prints the findings in one file, and returns the number of findings.
func check(file string, content []byte) int {
	if filepath.Ext(file) == ".go" {
		return checkGo(file, content)
	}
	return checkText(file, 1, content)
}

// checkGo checks the comments and strings of a Go file, but not its identifiers.
func checkGo(file string, content []byte) int {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, file, content, parser.ParseComments)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	found := 0
	for _, group := range tree.Comments {
		found += checkText(file, set.Position(group.Pos()).Line, content[set.Position(group.Pos()).Offset:set.Position(group.End()).Offset])
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		if s, ok := n.(*ast.BasicLit); ok && s.Kind == token.STRING {
			found += checkText(file, set.Position(s.Pos()).Line, []byte(s.Value))
		}
		return true
	})
	return found
}

// comment matches the white space and the comment marker at the start of a line.
var comment = regexp.MustCompile(`^\s*(//|#)?\s*`)

// checkText checks a part of a file. line is the number of the first line. checkText also finds a
// phrase that continues on the next line.
func checkText(file string, line int, text []byte) int {
	found := 0
	previous := ""
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, len(text)+1)
	for ; lines.Scan(); line++ {
		this := comment.ReplaceAllString(lines.Text(), "")
		tail := previous
		if cut := len(tail) - 30; cut > 0 {
			tail = tail[cut:]
		}
		joined := tail + " " + this
		for _, p := range phrases {
			for _, at := range p.pattern.FindAllStringIndex(joined, -1) {
				if at[1] <= len(tail) {
					continue // the check of the previous line has already reported this phrase
				}
				found++
				fmt.Printf("%s:%d: %q: write %s\n", file, line, joined[at[0]:at[1]], p.instead)
			}
		}
		previous = this
	}
	return found
}
