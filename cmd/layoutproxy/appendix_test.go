package main

import (
	"regexp"
	"slices"
	"strings"
)

// message is a message of the program: an error, the advice that is printed with it, or both.
type message struct{ text, hint string }

// appendix is the list of messages at the end of the page about troubleshooting. The program
// decides which messages are there and which advice they have. Their explanations are kept from the
// page.
type appendix struct {
	said     map[string]bool     // each text of the program
	messages []string            // those that have to be there, advice without a message too
	advice   map[string][]string // by message
	hints    map[string]bool     // advice of some message
}

// add adds a message, or adds advice to a known message.
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

// row is a row of a table that explains a message.
var row = regexp.MustCompile("^\\| `([^`]+)` \\| (.*?) ?\\| ?(.*?) ?\\|$")

// heading is where the appendix begins.
const heading = "\n## Appendix: messages\n"

// update rewrites the appendix of a page. It removes rows of messages that the program no longer
// has, updates the advice in the others, and adds rows for new messages to the last section.
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
			// removed from the program, or part of another message's row
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

// row returns the row of a message. It keeps what a person has written into the last column, after
// the advice of the program.
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
