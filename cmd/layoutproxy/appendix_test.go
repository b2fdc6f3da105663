package main

import (
	"regexp"
	"slices"
	"strings"
)

// message is something that the program prints: an error, advice, or an error with its advice.
type message struct{ text, hint string }

// appendix is the list of messages at the end of docs/troubleshooting.md. The program decides which
// messages the list contains, and which advice each has. People write the explanations: an update
// keeps them.
type appendix struct {
	// said contains every string literal of the program.
	said map[string]bool
	// messages are the texts that need a row: all errors, and advice that is printed without an error.
	messages []string
	// advice maps each error to the advice that is printed with it.
	advice map[string][]string
	// hints contains every piece of advice that is printed with an error.
	hints map[string]bool
}

// add adds an error with its advice. If the error is already in the list, it adds only the advice.
func (a *appendix) add(m message) {
	has := func(text string) bool { return slices.Contains(a.messages, text) }
	switch {
	case m.text == "" && m.hint == "":
		return
	case m.text == "":
		if !has(m.hint) {
			a.messages = append(a.messages, m.hint)
		}
		return
	case !has(m.text):
		a.messages = append(a.messages, m.text)
	}
	if m.hint != "" && !slices.Contains(a.advice[m.text], m.hint) {
		a.advice[m.text] = append(a.advice[m.text], m.hint)
		a.hints[m.hint] = true
	}
}

// row matches a table row of the appendix.
var row = regexp.MustCompile("^\\| `([^`]+)` \\| (.*?) ?\\| ?(.*?) ?\\|$")

const heading = "\n## Appendix: messages\n"

// update rewrites the appendix of a page. It removes rows of messages that need no row any more, updates the
// advice in the remaining rows, and adds rows for new messages to the last section.
func (a *appendix) update(page string) string {
	before, list, found := strings.Cut(page, heading)
	if !found {
		return page
	}
	there := map[string]bool{}
	var lines []string
	for line := range strings.SplitSeq(strings.TrimRight(list, "\n"), "\n") {
		m := row.FindStringSubmatch(line)
		switch {
		case m == nil:
			lines = append(lines, line)
		case !a.said[m[1]], a.hints[m[1]] && !slices.Contains(a.messages, m[1]):
			// Drop the row: the message is gone, or it is advice in the row of an error.
		default:
			there[m[1]] = true
			lines = append(lines, a.row(m[1], m[2], m[3]))
		}
	}
	for _, text := range a.messages {
		if !there[text] {
			lines = append(lines, a.row(text, "", ""))
		}
	}
	return before + heading + strings.Join(lines, "\n") + "\n"
}

// row returns the table row for a message. The last column contains the program's advice, followed
// by the words that a person has added.
func (a *appendix) row(text, means, do string) string {
	var advice []string
	for _, hint := range a.advice[text] {
		advice = append(advice, "`"+hint+"`")
	}
	program := strings.Join(advice, ", or ")
	for _, cell := range []string{program, "see the hint below", "as it says"} {
		if rest, ok := strings.CutPrefix(do, cell); ok && cell != "" && (rest == "" || strings.HasPrefix(rest, "; ")) && program != "" {
			do = strings.TrimPrefix(rest, "; ")
		}
	}
	switch {
	case program != "" && do != "":
		do = program + "; " + do
	case program != "":
		do = program
	}
	return strings.ReplaceAll("| `"+text+"` | "+means+" | "+do+" |", "  ", " ")
}
