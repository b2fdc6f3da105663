package main

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

const (
	troubleshooting = "../../docs/troubleshooting.md"
	moduleDir       = "../.."
)

var updateAppendix = flag.Bool("update", false, "rewrite the appendix with the messages in "+troubleshooting)

// The appendix of docs/troubleshooting.md lists each error of the commands with its advice, and advice
// without an error. Each row quotes a string of the program, with "…" for formatting verbs such as %s.
func TestMessagesOfTroubleshooting(t *testing.T) {
	data, err := os.ReadFile(troubleshooting)
	layouttest.Try(t, err)
	page := string(data)
	a := appendix{said: map[string]bool{}, advice: map[string][]string{}, hints: map[string]bool{}}
	sentinels := map[string]string{}
	all := sources(t, moduleDir)
	for name, file := range all {
		ast.Inspect(file, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok {
				if text := literal(e); text != "" {
					a.said[text] = true
				}
			}
			return true
		})
		addSentinels(sentinels, filepath.Base(filepath.Dir(name)), file)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(filepath.ToSlash(name), moduleDir+"/cmd/layoutproxy/") {
			for _, m := range messages(all[name], sentinels) {
				a.add(m)
			}
		}
	}
	if len(a.messages) < 100 || len(a.advice) < 30 {
		t.Errorf("found %d messages, %d of them with advice; want at least 100 and 30", len(a.messages), len(a.advice))
	}
	want := a.update(page)
	switch {
	case page == want:
	case *updateAppendix:
		layouttest.Try(t, os.WriteFile(troubleshooting, []byte(want), 0o644))
	default:
		t.Errorf("%s does not match the messages of the program, want it to match: run go test ./cmd/layoutproxy -run TestMessagesOfTroubleshooting -update, and write what the new messages mean\n%s", troubleshooting, cmp.Diff(page, want))
	}
	if again := a.update(want); again != want {
		t.Errorf("a second update changes the page, want no change (-first +second): %s", cmp.Diff(want, again))
	}
}

// sources returns the parsed Go files below dir, without tests, acceptance, testdata and examples.
func sources(t *testing.T, dir string) map[string]*ast.File {
	t.Helper()
	files := map[string]*ast.File{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "acceptance" || d.Name() == "testdata" || d.Name() == "examples" || d.Name() == ".git") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files[path], err = parser.ParseFile(token.NewFileSet(), path, nil, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// messages returns the errors and the hints in a file. It omits errors that wrap another error with %w.
// sentinels are the texts of the error variables in all packages.
func messages(file *ast.File, sentinels map[string]string) (all []message) {
	text := func(e ast.Expr) string {
		// An error that only adds punctuation to another error needs no explanation.
		if text := literal(e); strings.ContainsFunc(text, unicode.IsLetter) {
			return text
		}
		return ""
	}
	ofError := func(e ast.Expr) string {
		switch e := e.(type) {
		case *ast.CallExpr:
			if name := called(e); name == "errors.New" || name == "fmt.Errorf" && !strings.Contains(literalWithVerbs(e.Args[0]), "%w") {
				return text(e.Args[0])
			}
		case *ast.SelectorExpr:
			if p, ok := e.X.(*ast.Ident); ok {
				return sentinels[p.Name+"."+e.Sel.Name]
			}
		}
		return ""
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			switch name := called(n); {
			case name == "errors.New", name == "fmt.Errorf":
				all = append(all, message{text: ofError(n)})
			case name == "exit.WithHint", name == "WithHint":
				all = append(all, message{text: ofError(n.Args[0]), hint: text(n.Args[1])})
			}
		case *ast.CompositeLit:
			if i := hintField(n.Type); i >= 0 {
				for _, row := range n.Elts {
					cells := row.(*ast.CompositeLit).Elts
					all = append(all, message{text: ofError(cells[0]), hint: text(cells[i])})
				}
			}
		case *ast.AssignStmt:
			if id, ok := n.Lhs[0].(*ast.Ident); ok && id.Name == "hint" {
				all = append(all, message{hint: text(n.Rhs[0])})
			}
		}
		return true
	})
	return all
}

// addSentinels adds the text of each error variable in a file to the map, by PACKAGE.NAME.
func addSentinels(to map[string]string, pkg string, file *ast.File) {
	for _, d := range file.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.VAR {
			continue
		}
		for _, s := range decl.Specs {
			v := s.(*ast.ValueSpec)
			for i, value := range v.Values {
				if call, ok := value.(*ast.CallExpr); ok && called(call) == "errors.New" {
					to[pkg+"."+v.Names[i].Name] = literal(call.Args[0])
				}
			}
		}
	}
}

// hintField returns the index of the field hint if e is a slice of structs that have one, or -1.
func hintField(e ast.Expr) int {
	array, ok := e.(*ast.ArrayType)
	if !ok {
		return -1
	}
	fields, ok := array.Elt.(*ast.StructType)
	if !ok {
		return -1
	}
	for i, field := range fields.Fields.List {
		if field.Names[0].Name == "hint" {
			return i
		}
	}
	return -1
}

func called(call *ast.CallExpr) string {
	if f, ok := call.Fun.(*ast.Ident); ok {
		return f.Name
	}
	if s, ok := call.Fun.(*ast.SelectorExpr); ok {
		if p, ok := s.X.(*ast.Ident); ok {
			return p.Name + "." + s.Sel.Name
		}
	}
	return ""
}

// literal returns the text of a string expression as the page shows it, or "" for other
// expressions.
func literal(e ast.Expr) string {
	text := regexp.MustCompile(`%[-+#0-9.]*[a-zA-Z]`).ReplaceAllString(literalWithVerbs(e), "…")
	return strings.ReplaceAll(text, `"…"`, "…")
}

func literalWithVerbs(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			text, err := strconv.Unquote(e.Value)
			if err == nil {
				return text
			}
		}
	case *ast.BinaryExpr:
		left, right := literalWithVerbs(e.X), literalWithVerbs(e.Y)
		if left == "" && right == "" {
			return ""
		}
		return or(left, "%v") + or(right, "%v")
	case *ast.CallExpr:
		if called(e) == "fmt.Sprintf" || called(e) == "fmt.Errorf" {
			return literalWithVerbs(e.Args[0])
		}
	}
	return ""
}

func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
