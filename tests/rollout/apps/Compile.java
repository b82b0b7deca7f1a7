import javax.tools.ToolProvider;

/** javac, for a machine that has the runtime alone: `java Compile.java -d DIRECTORY App.java`. */
public class Compile {
    public static void main(String[] args) {
        System.exit(ToolProvider.getSystemJavaCompiler().run(null, null, null, args));
    }
}
