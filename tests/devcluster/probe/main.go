// probe: what a test wants to know from inside a pod, asked over HTTP (or as `probe say WORDS` by exec).
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Println(strings.Join(os.Args[2:], " "))
		return
	}
	http.HandleFunc("/", answer(func(*http.Request) (string, error) { return os.Hostname() }))
	http.HandleFunc("/get", answer(get))
	http.HandleFunc("/lookup", answer(lookup))
	http.HandleFunc("/read", answer(read))
	http.HandleFunc("/write", answer(write))
	fmt.Println("probe listens")
	fmt.Println(http.ListenAndServe(":8080", nil))
}

func answer(ask func(*http.Request) (string, error)) http.HandlerFunc {
	return func(writer http.ResponseWriter, request *http.Request) {
		text, err := ask(request)
		if err != nil {
			http.Error(writer, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprint(writer, text)
	}
}

func get(request *http.Request) (string, error) {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(request.FormValue("url"))
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func lookup(request *http.Request) (string, error) {
	found, err := net.LookupHost(request.FormValue("name"))
	return strings.Join(found, " "), err
}

func read(request *http.Request) (string, error) {
	data, err := os.ReadFile(request.FormValue("file"))
	return string(data), err
}

// write repeats the text until there are as many bytes as asked for.
func write(request *http.Request) (string, error) {
	text := request.FormValue("text")
	size, err := strconv.Atoi(request.FormValue("bytes"))
	if err != nil {
		size = len(text)
	}
	data := strings.Repeat(text, size/len(text))
	return strconv.Itoa(len(data)), os.WriteFile(request.FormValue("file"), []byte(data), 0o644)
}
