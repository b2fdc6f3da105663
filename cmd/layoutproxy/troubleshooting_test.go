package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

const (
	troubleshooting = "../../docs/troubleshooting.md"
	moduleDir       = "../.."
)

// Each message and hint of the program is explained, and what is explained is what
// the program says. A verb of a format is … on the page.
func TestTroubleshootingHasWhatTheProgramSays(t *testing.T) {
	data, err := os.ReadFile(troubleshooting)
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	said := 0
	for name, file := range sources(t, ".") {
		for _, text := range messages(file) {
			said++
			if !strings.Contains(page, "`"+text+"`") {
				t.Errorf("%s says %q, and %s does not explain it: add a row with it in backquotes", name, text, troubleshooting)
			}
		}
	}
	if said < 30 {
		t.Errorf("%d messages: are all found?", said)
	}
	literals := map[string]bool{}
	for _, file := range sources(t, moduleDir) {
		ast.Inspect(file, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok {
				if text := literal(e); text != "" {
					literals[text] = true
				}
			}
			return true
		})
	}
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(page, -1)
	if len(rows) < 30 {
		t.Errorf("%d rows: are all found?", len(rows))
	}
	for _, row := range rows {
		if !literals[row[1]] {
			t.Errorf("%s explains %q, which the program does not say", troubleshooting, row[1])
		}
	}
}

// sources are the parsed files of the program below dir, tests and nested modules
// apart.
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

// messages are the errors that a file makes of its own words, and its hints.
func messages(file *ast.File) (texts []string) {
	add := func(e ast.Expr) {
		// What wraps another error in nothing but punctuation has no words to explain.
		if text := literal(e); strings.ContainsFunc(text, unicode.IsLetter) {
			texts = append(texts, text)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			switch name := called(n); {
			case name == "errors.New", name == "fmt.Errorf" && !strings.Contains(literalWithVerbs(n.Args[0]), "%w"):
				add(n.Args[0])
			case name == "exit.WithHint", name == "WithHint":
				add(n.Args[1])
			}
		case *ast.CompositeLit:
			if i := hintField(n.Type); i >= 0 {
				for _, row := range n.Elts {
					add(row.(*ast.CompositeLit).Elts[i])
				}
			}
		case *ast.AssignStmt:
			if id, ok := n.Lhs[0].(*ast.Ident); ok && id.Name == "hint" {
				add(n.Rhs[0])
			}
		}
		return true
	})
	return texts
}

// hintField is the place of a field named hint in a slice of structs, or -1.
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

// literal is the text of an expression as the page has it; empty if it has none.
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
